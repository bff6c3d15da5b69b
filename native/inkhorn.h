/* C API of the kernel: runs a GPT-1 or GPT-2 on a CPU. Python calls it through ctypes.
 *
 * A model is one block of memory, packed once from float32 tensors (ink_model_pack) or mapped from a file, and
 * read-only afterwards. A session runs a model: it holds the KV cache, divided into numbered slots, and a team of
 * threads. ink_session_run processes the tokens of several sequences in one batch and can sample the tokens that
 * follow, several decoding steps per call.
 *
 * The results for a sequence do not depend on the other sequences in the batch, on the number of threads, or on how the
 * sequence is split into calls: on one instruction set they are identical bit for bit.
 *
 * Functions that can fail return an ink_status. ink_last_error describes the failure.
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

#define INK_ABI 3 /* raise it with every change to this file or to the layout of a packed model */

enum ink_status { INK_OK = 0, INK_INVALID_ARGUMENT = 1, INK_OUT_OF_MEMORY = 2, INK_NOT_FINITE = 3 };
enum ink_activation { INK_GELU_NEW = 0, INK_GELU = 1, INK_RELU = 2 };
enum ink_precision { INK_FP32 = 0, INK_BF16 = 1, INK_INT8 = 2, INK_INT4 = 3 };
/* The activations that an edit can change. */
enum ink_site {
  INK_HEAD_OUT = 0, /* (head_size): the output of one head, before c_proj */
  INK_ATTN_OUT = 1, /* (n_embd): what attention adds to the residual stream */
  INK_MLP_OUT = 2,  /* (n_embd): what the MLP adds to the residual stream */
  INK_RESID = 3     /* (n_embd): the residual stream before block `layer`; `n_layer` is after the last block */
};

/* The shape of a model and the format of its weights. */
typedef struct ink_config {
  int32_t vocab_size, block_size, n_layer, n_head, n_embd, n_inner;
  int32_t pre_norm;            /* 1: GPT-2; 0: GPT-1 */
  int32_t tie_word_embeddings; /* 1: lm_head shares the weights of wte */
  int32_t activation;          /* enum ink_activation */
  int32_t precision;           /* enum ink_precision */
  int32_t group_size;          /* inputs that share a quantization scale: 32, 64 or 128; 0: all inputs of an output */
  float layer_norm_epsilon;
} ink_config;

/* Sampling parameters of one sequence. The sampling module of the Python package defines their meaning. */
typedef struct ink_sampling_params {
  double temperature, top_p, min_p;
  uint64_t seed, sample_index;
  int64_t position;     /* in the text, of the first token to sample: the counter of the random number generator */
  int32_t top_k;        /* 0: off */
  int32_t top_logprobs; /* number of alternatives to return with each token; -1: no log-probabilities */
  int32_t end_token;    /* sampling stops after this token; -1: none */
  int32_t n_banned_ids;
  const int32_t *banned_ids; /* token ids that are never sampled, in ascending order */
} ink_sampling_params;

/* A change to an activation: x becomes scale * x + vector, at some positions. */
typedef struct ink_edit {
  int32_t site;       /* enum ink_site */
  int32_t layer;      /* from 0 to n_layer - 1; INK_RESID: to n_layer */
  int32_t head;       /* INK_HEAD_OUT only */
  int32_t first, end; /* the positions in the slot: first <= position < end */
  float scale;
  const float *vector; /* may be NULL: nothing is added */
} ink_edit;

/* The input of one sequence to a call, and the buffers for its results. */
typedef struct ink_model_input {
  int32_t slot;
  int32_t position;  /* of the first id in the slot; entries of the slot's KV cache from here on are discarded */
  int32_t n_ids;     /* at least 1 */
  int32_t n_outputs; /* results are computed after the last n_outputs ids; 0: only fill the KV cache */
  const int32_t *ids;
  const ink_sampling_params *sampling; /* may be NULL: no sampling */
  float *logits;                       /* out: (n_outputs, vocab_size) of the first step; may be NULL */
  int32_t *tokens;                     /* out, if sampling: n_outputs tokens, then one per further step */
  int32_t *n_tokens;                   /* out, if sampling: the number of sampled tokens */
  float *logprobs;       /* out, if top_logprobs >= 0: per token, its log-probability and those of the top_ids */
  int32_t *top_ids;      /* out: per token, the top_logprobs likeliest ids in descending order; ties by ascending id */
  const ink_edit *edits; /* applied in this order; may be NULL if n_edits is 0 */
  int32_t n_edits;
} ink_model_input;

typedef struct ink_model ink_model;
typedef struct ink_session ink_session;

INK_API int32_t ink_abi_version(void);
/* The error message of the last failed call in this thread. */
INK_API const char *ink_last_error(void);

/* The instruction set in use: amx, avx512, avxvnni or avx2 on x86-64; neon_i8mm, neon_dotprod or neon on 64-bit ARM;
 * portable. */
INK_API const char *ink_isa_name(void);
/* The instruction sets that this CPU supports, best first, separated by spaces. */
INK_API const char *ink_isa_supported(void);
/* Select an instruction set; NULL selects the best. Call it before opening the first model. */
INK_API int ink_isa_select(const char *name);

/* Size of a packed model in bytes; 0 if the configuration is invalid. */
INK_API size_t ink_model_packed_size(const ink_config *config);
/* Pack float32 tensors, in the order of ModelConfig.tensor_specs, matrices as [in, out]. `packed` must be aligned to 64
 * bytes. */
INK_API int ink_model_pack(const ink_config *config, const float *const *tensors, int32_t n_tensors, void *packed);
/* Open a packed model. `packed` must stay valid until the model is closed. */
INK_API int ink_model_open(const ink_config *config, const void *packed, size_t bytes, ink_model **model);
INK_API void ink_model_close(ink_model *model);

INK_API int ink_session_open(const ink_model *model, int32_t slots, int32_t threads, ink_session **session);
INK_API void ink_session_close(ink_session *session);
/* Size of one slot of the KV cache in bytes. */
INK_API size_t ink_session_slot_size(const ink_config *config);
/* Copy the first `length` positions of a slot to another slot. */
INK_API int ink_session_copy_slot(ink_session *session, int32_t source, int32_t target, int32_t length);
/* Process the ids of every input, then sample up to `steps` tokens for each input that samples. Do not call it from two
 * threads at once on one session. */
INK_API int ink_session_run(ink_session *session, ink_model_input *inputs, int32_t n_inputs, int32_t steps);

/* Memory read bandwidth in bytes per second for a block of this size, at least 8 bytes, the best of `rounds` runs; 0 on
 * failure. */
INK_API double ink_memory_bandwidth(size_t bytes, int32_t threads, int32_t rounds);

/* The sampler and its random number generator, exported for tests. ink_sample returns -1 if no token can be sampled. */
INK_API int32_t ink_sample(const float *logits, int32_t vocab_size, const ink_sampling_params *params, double u);
INK_API double ink_uniform(uint64_t seed, uint64_t sample_index, int64_t position);

#ifdef __cplusplus
}
#endif
#endif
