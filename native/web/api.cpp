// The functions of the WebAssembly module that runs a model in the browser; web/static/engine/kernel.js calls
// them.
// native/web/build.py compiles it.
//
// The module imports nothing. There are no exceptions: a call that runs out of memory traps. The arguments are not
// checked, because an error can damage only the module's own memory.
#include <cstring>
#include <memory>
#include <vector>

#include "batch.hpp"
#include "error.hpp"
#include "inkhorn.h"
#include "memory.hpp"
#include "model.hpp"
#include "sampling.hpp"
#include "session.hpp"
#include "trace.hpp"

#define INK_EXPORT(name) extern "C" __attribute__((export_name(#name)))

// One text: its KV cache and the results of the last calls.
struct ink_text {
  explicit ink_text(const ink_model &model)
      : session(model, 1, 1), ids((size_t)model.config.block_size), logits((size_t)model.config.vocab_size) {
    buffers.reserve(model.config.vocab_size);
  }

  ink_session session;
  std::vector<int32_t> ids;      // in: the ids of a call, at most block_size
  std::vector<int32_t> banned;   // in: ids that are never sampled, in ascending order
  std::vector<ink_edit> edits;   // in: changes to activations
  std::vector<float> vectors;    // in: the vectors of the edits
  std::vector<float> logits;     // out: of the last position
  std::vector<float> logprobs;   // out: see ink_text_logprobs and ink_text_lens
  std::vector<int32_t> top_ids;  // out
  ink::Trace trace;
  ink::SamplingBuffers buffers;
  const void *addresses[8] = {};

  // The next ids, from a position on, with the edits.
  ink_model_input input(int32_t position, int32_t n_ids) const {
    ink_model_input found{};
    found.position = position;
    found.n_ids = n_ids;
    found.ids = ids.data();
    found.edits = edits.data();
    found.n_edits = (int32_t)edits.size();
    return found;
  }

  // Log-probabilities of `token` and of the `top` likeliest tokens: entry `i` of the results.
  void log_probabilities(const float *of, int32_t i, int32_t token, int32_t top) {
    ink::log_probabilities(of, session.model.config.vocab_size, token, top, logprobs.data() + (size_t)i * (1 + top),
                           top_ids.data() + (size_t)i * top, buffers);
  }
  void reserve_logprobs(int32_t count, int32_t top) {
    logprobs.resize((size_t)count * (1 + top));
    top_ids.resize((size_t)count * top + 1);
  }
  const void *const *addresses_of_logprobs() {
    addresses[0] = logprobs.data();
    addresses[1] = top_ids.data();
    return addresses;
  }
};

namespace ink {

// The page has a message of its own.
int fail(int status, const char *, ...) { return status; }

}  // namespace ink

// libc++ calls this on errors. The default prints to stderr, which would import functions of WASI.
void std::__libcpp_verbose_abort(const char *, ...) noexcept { __builtin_trap(); }

// Zeroed memory for a packed model, aligned to a cache line. It is never freed.
INK_EXPORT(ink_allocate) void *ink_allocate(size_t bytes) { return (new ink::AlignedBuffer(bytes))->as<void>(); }

// Open a packed model, whose header has the configuration; null if it is not valid.
INK_EXPORT(ink_open) const ink_model *ink_open(const void *packed, size_t bytes) {
  ink::PackedHeader header;
  if (bytes < sizeof header) return nullptr;
  std::memcpy(&header, packed, sizeof header);
  ink_model *model = nullptr;
  ink::open_model(header.config, packed, bytes, &model);
  return model;
}

INK_EXPORT(ink_text_open) ink_text *ink_text_open(const ink_model *model) { return new ink_text(*model); }
INK_EXPORT(ink_text_ids) int32_t *ink_text_ids(ink_text *text) { return text->ids.data(); }
INK_EXPORT(ink_text_logits) float *ink_text_logits(ink_text *text) { return text->logits.data(); }

// Room for the banned ids.
INK_EXPORT(ink_text_ban) int32_t *ink_text_ban(ink_text *text, int32_t count) {
  text->banned.resize((size_t)count + 1);
  text->banned.pop_back();
  return text->banned.data();
}

// Room for n edits and for the numbers of their vectors, to which the edits point: the addresses of both.
INK_EXPORT(ink_text_edits) const void *const *ink_text_edits(ink_text *text, int32_t n_edits, int32_t n_numbers) {
  text->edits.assign((size_t)n_edits, {});
  text->vectors.assign((size_t)n_numbers, 0.0f);
  text->addresses[0] = text->edits.data();
  text->addresses[1] = text->vectors.data();
  return text->addresses;
}

// Process n ids from a position on; with n_outputs = 1, write the logits after the last one.
INK_EXPORT(ink_text_run) void ink_text_run(ink_text *text, int32_t position, int32_t n_ids, int32_t n_outputs) {
  ink_model_input input = text->input(position, n_ids);
  input.n_outputs = n_outputs;
  input.logits = text->logits.data();
  text->session.reserve_logits(1);
  ink::run_batches(text->session, &input, 1, 1);
}

// Sample from the logits; -1 if no token can be sampled. `length` is the number of tokens of the text so far.
INK_EXPORT(ink_text_sample)
int32_t ink_text_sample(ink_text *text, double temperature, double top_p, double min_p, int32_t top_k, uint64_t seed,
                        int64_t length) {
  ink_sampling_params params{};
  params.temperature = temperature;
  params.top_p = top_p;
  params.min_p = min_p;
  params.top_k = top_k;
  params.n_banned_ids = (int32_t)text->banned.size();
  params.banned_ids = text->banned.data();
  return ink::sample(text->logits.data(), (int32_t)text->logits.size(), params, ink::uniform(seed, 0, length),
                     text->buffers);
}

// The log-probability of a token, then those of the `top` likeliest: the addresses of the floats and of their ids.
INK_EXPORT(ink_text_logprobs) const void *const *ink_text_logprobs(ink_text *text, int32_t token, int32_t top) {
  text->reserve_logprobs(1, top);
  text->log_probabilities(text->logits.data(), 0, token, top);
  return text->addresses_of_logprobs();
}

// Process n ids from a position on, at most MAX_ROWS, and keep what the inspector shows: the addresses of the members
// of ink::Trace in their order.
INK_EXPORT(ink_text_trace)
const void *const *ink_text_trace(ink_text *text, int32_t position, int32_t n_ids, int32_t layer) {
  ink::Batch &batch = text->session.batch;
  batch.n_rows = batch.n_tiles = n_ids;
  batch.n_outputs = 0;
  for (int32_t i = 0; i < n_ids; i++) {
    batch.rows[i] = {0, position + i, text->ids[(size_t)i], 0, -1};
    batch.tiles[i] = {i, 1};
  }
  const ink_model_input input = text->input(position, n_ids);
  text->session.set_edits(&input, 1);
  ink::Trace &trace = text->trace;
  ink::portable::trace(text->session, layer, trace);
  text->session.set_edits(nullptr, 0);
  text->addresses[0] = trace.residual.data();
  text->addresses[1] = trace.attention.data();
  text->addresses[2] = trace.updates.data();
  text->addresses[3] = trace.hidden.data();
  text->addresses[4] = trace.embeddings.data();
  text->addresses[5] = trace.heads.data();
  text->addresses[6] = trace.qkv.data();
  text->addresses[7] = trace.norms.data();
  return text->addresses;
}

// The logit lens of `count` rows of a depth of the last trace, at most MAX_ROWS. The ids of the text are those whose
// log-probability is wanted. Returns addresses as ink_text_logprobs, for one row after the other. The logits of the
// last row become those of the text.
INK_EXPORT(ink_text_lens)
const void *const *ink_text_lens(ink_text *text, const float *residual, int32_t count, int32_t top) {
  ink_session &session = text->session;
  session.reserve_logits((size_t)count);
  ink::portable::lens(session, residual, count);
  text->reserve_logprobs(count, top);
  std::memcpy(text->logits.data(), session.logits + (size_t)(count - 1) * session.logits_stride,
              text->logits.size() * 4);
  for (int32_t i = 0; i < count; i++)
    text->log_probabilities(session.logits + (size_t)i * session.logits_stride, i, text->ids[(size_t)i], top);
  return text->addresses_of_logprobs();
}
