/* The kernel's face: a plain C library that runs a GPT-1 or GPT-2 on a CPU, called through ctypes.
 *
 * A model is one block of memory, packed once from float32 tensors (ink_pack) or mapped from a file, and never written
 * again. A session is a model at work: caches of keys and values in numbered slots, and a team of threads. A call of
 * ink_run takes in tokens of any sequences at once and may draw the tokens that follow, several steps in one call.
 *
 * What a sequence gets does not depend on its company, on the number of threads or on how its tokens are cut into calls:
 * on one instruction path the results are equal bit for bit.
 *
 * Every function that can fail returns 0 or one of ink_status; ink_message says the rest, for the calling thread.
 */
#ifndef INKHORN_H
#define INKHORN_H
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define INK_API __declspec(dllexport)
#else
#define INK_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define INK_ABI 1 /* grows with every change of this file, or of the packed layout */

enum ink_status { INK_OK = 0, INK_BAD_ARGUMENT = 1, INK_NO_MEMORY = 2, INK_NOT_FINITE = 3 };
enum ink_activation { INK_GELU_NEW = 0, INK_GELU = 1, INK_RELU = 2 };
enum ink_precision { INK_FP32 = 0, INK_BF16 = 1, INK_INT8 = 2, INK_INT4 = 3 };

/* A model's shape and how its matrices are kept. */
typedef struct ink_config {
  int32_t vocab_size, block_size, n_layer, n_head, n_embd, n_inner;
  int32_t pre_norm;   /* 1: GPT-2; 0: GPT-1 */
  int32_t tied;       /* 1: the head is wte */
  int32_t activation; /* enum ink_activation */
  int32_t precision;  /* enum ink_precision */
  int32_t group;      /* weights that share a scale along the input: 0 for a whole row, or 32, 64, 128 */
  float layer_norm_epsilon;
} ink_config;

/* How tokens are drawn; runtime/sampling.py is the definition. */
typedef struct ink_sampling {
  double temperature, top_p, min_p;
  uint64_t seed, choice;
  int64_t place;          /* where in the text the first token to be drawn will stand: the random number's counter */
  int32_t top_k;          /* 0: all */
  int32_t top_logprobs;   /* alternatives told with each token; -1: no log-probabilities */
  int32_t end_token;      /* drawing it ends the sequence's steps; -1: none */
  int32_t n_banned;
  const int32_t *banned;  /* ids that are never drawn, ascending */
} ink_sampling;

/* What one sequence asks of a call. */
typedef struct ink_item {
  int32_t slot;
  int32_t position;   /* where the first id stands in the slot; what the slot held from there on is forgotten */
  int32_t n_ids;      /* at least 1 */
  int32_t n_outputs;  /* after how many of the last ids something is wanted; 0: none */
  const int32_t *ids;
  const ink_sampling *sampling; /* NULL: logits alone */
  float *logits;      /* (n_outputs, vocab_size) of the first step, or NULL */
  int32_t *tokens;    /* out, with sampling: n_outputs tokens, then one for each further step */
  int32_t *n_tokens;  /* out, with sampling: how many were drawn */
  float *logprobs;    /* out, top_logprobs >= 0: for each token (1 + top_logprobs): its own, then the likeliest */
  int32_t *top_ids;   /* out: for each token top_logprobs ids, by falling odds, of equals the lowest first */
} ink_item;

typedef struct ink_model ink_model;
typedef struct ink_session ink_session;

INK_API int32_t ink_abi(void);
INK_API const char *ink_message(void);           /* of the last failure in this thread */
INK_API const char *ink_path(void);              /* the instruction path in use: avx512, avx2 or plain */
INK_API const char *ink_paths(void);             /* those that this machine can run, best first, by spaces */
INK_API int ink_choose_path(const char *name);   /* NULL: the best; only before the first model is opened */

/* Bytes of a packed model, 0 for a shape that cannot be. */
INK_API size_t ink_packed_size(const ink_config *config);
/* Pack float32 tensors, in the order of ModelConfig.tensor_specs, matrices [in, out]. `packed` is 64-byte aligned. */
INK_API int ink_pack(const ink_config *config, const float *const *tensors, int32_t n_tensors, void *packed);
/* The model keeps pointing into `packed`. */
INK_API int ink_model_open(const ink_config *config, const void *packed, size_t bytes, ink_model **model);
INK_API void ink_model_close(ink_model *model);

INK_API int ink_session_open(const ink_model *model, int32_t slots, int32_t threads, ink_session **session);
INK_API void ink_session_close(ink_session *session);
/* Bytes that the caches of one slot take. */
INK_API size_t ink_slot_bytes(const ink_config *config);
/* The first `length` tokens of slot `from` also become those of slot `to`. */
INK_API int ink_copy_slot(ink_session *session, int32_t from, int32_t to, int32_t length);
/* One call: every item's ids, then up to `steps` tokens for those that sample. Calls of one session do not overlap. */
INK_API int ink_run(ink_session *session, ink_item *items, int32_t n_items, int32_t steps);

/* Bytes a second that so many threads read of a block of this size: the best of some rounds; 0 if it cannot be had. */
INK_API double ink_read_speed(size_t bytes, int32_t threads, int32_t rounds);

/* Steps 2 to 8 of runtime/sampling.py, for tests: the token, or -1 if none can be drawn. */
INK_API int32_t ink_sample(const float *logits, int32_t vocab_size, const ink_sampling *sampling, double u);
INK_API double ink_uniform(uint64_t seed, uint64_t choice, int64_t place);

#ifdef __cplusplus
}
#endif
#endif
