// The C API: checks the arguments and translates exceptions into an ink_status.
#include <algorithm>
#include <new>
#include <system_error>
#include <vector>

#include "bandwidth.hpp"
#include "batch.hpp"
#include "dispatch.hpp"
#include "error.hpp"
#include "inkhorn.h"
#include "model.hpp"
#include "pack.hpp"
#include "platform.hpp"
#include "sampling.hpp"
#include "session.hpp"
#include "thread_team.hpp"

namespace {

using ink::fail;

template <class Function>
int catch_exceptions(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc &) {
    return fail(INK_OUT_OF_MEMORY, "not enough memory");
  } catch (const std::system_error &error) {
    return fail(INK_OUT_OF_MEMORY, "cannot start a thread: %s", error.what());
  }
}

int null_argument() { return fail(INK_INVALID_ARGUMENT, "an argument is NULL"); }

int validate_sampling(const ink_model_input &input, int32_t i, int32_t vocab_size, int32_t steps) {
  const ink_sampling_params &params = *input.sampling;
  if (input.tokens == nullptr || input.n_tokens == nullptr)
    return fail(INK_INVALID_ARGUMENT, "input %d: tokens and n_tokens must not be NULL", i);
  if (steps > 1 && input.n_outputs > 1)
    return fail(INK_INVALID_ARGUMENT, "input %d: n_outputs must be at most 1 if steps is greater than 1", i);
  if (!(params.temperature >= 0) || !(params.top_p > 0) || !(params.min_p >= 0) || params.top_k < 0)
    return fail(INK_INVALID_ARGUMENT, "input %d: a sampling parameter is out of range", i);
  if (params.top_logprobs > vocab_size || (params.top_logprobs >= 0 && input.logprobs == nullptr) ||
      (params.top_logprobs > 0 && input.top_ids == nullptr))
    return fail(INK_INVALID_ARGUMENT, "input %d: top_logprobs of %d exceeds the vocabulary, or a buffer is NULL", i,
                params.top_logprobs);
  if (params.n_banned_ids < 0 || (params.n_banned_ids > 0 && params.banned_ids == nullptr))
    return fail(INK_INVALID_ARGUMENT, "input %d: n_banned_ids is negative, or banned_ids is NULL", i);
  const int32_t *banned = params.banned_ids;
  for (int32_t j = 0; j < params.n_banned_ids; j++)
    if (banned[j] < 0 || banned[j] >= vocab_size || (j > 0 && banned[j] <= banned[j - 1]))
      return fail(INK_INVALID_ARGUMENT, "input %d: banned_ids must be ascending and less than %d", i, vocab_size);
  return INK_OK;
}

int validate_edit(const ink_config &c, const ink_edit &edit, int32_t i) {
  if (edit.site < INK_HEAD_OUT || edit.site > INK_RESID)
    return fail(INK_INVALID_ARGUMENT, "input %d: an edit has the unknown site %d", i, edit.site);
  const int32_t last_layer = edit.site == INK_RESID ? c.n_layer : c.n_layer - 1;
  if (edit.layer < 0 || edit.layer > last_layer)
    return fail(INK_INVALID_ARGUMENT, "input %d: the layer of an edit must be from 0 to %d, not %d", i, last_layer,
                edit.layer);
  if (edit.site == INK_HEAD_OUT && (edit.head < 0 || edit.head >= c.n_head))
    return fail(INK_INVALID_ARGUMENT, "input %d: the head of an edit must be from 0 to %d, not %d", i, c.n_head - 1,
                edit.head);
  return INK_OK;
}

int validate_input(const ink_session &s, const ink_model_input &input, int32_t i, int32_t steps) {
  const ink_config &c = s.model.config;
  if (input.slot < 0 || input.slot >= s.slots)
    return fail(INK_INVALID_ARGUMENT, "input %d: slot must be from 0 to %d, not %d", i, s.slots - 1, input.slot);
  if (input.n_ids < 1 || input.position < 0 || input.n_ids > c.block_size - input.position)
    return fail(INK_INVALID_ARGUMENT, "input %d: %d tokens at position %d exceed the block size of %d", i, input.n_ids,
                input.position, c.block_size);
  if (input.n_outputs < 0 || input.n_outputs > input.n_ids)
    return fail(INK_INVALID_ARGUMENT, "input %d: n_outputs must be from 0 to %d, not %d", i, input.n_ids,
                input.n_outputs);
  if (input.ids == nullptr) return fail(INK_INVALID_ARGUMENT, "input %d: ids must not be NULL", i);
  for (int32_t j = 0; j < input.n_ids; j++)
    if (input.ids[j] < 0 || input.ids[j] >= c.vocab_size)
      return fail(INK_INVALID_ARGUMENT, "input %d: token ids must be from 0 to %d, not %d", i, c.vocab_size - 1,
                  input.ids[j]);
  if (input.n_edits < 0 || (input.n_edits > 0 && input.edits == nullptr))
    return fail(INK_INVALID_ARGUMENT, "input %d: n_edits is negative, or edits is NULL", i);
  for (int32_t j = 0; j < input.n_edits; j++) {
    const int status = validate_edit(c, input.edits[j], i);
    if (status != INK_OK) return status;
  }
  return input.sampling == nullptr ? (int)INK_OK : validate_sampling(input, i, c.vocab_size, steps);
}

int validate_call(const ink_session &s, const ink_model_input *inputs, int32_t n_inputs, int32_t steps) {
  if (n_inputs < 1 || n_inputs > s.slots)
    return fail(INK_INVALID_ARGUMENT, "n_inputs must be from 1 to %d, not %d", s.slots, n_inputs);
  if (steps < 1 || steps > 1024) return fail(INK_INVALID_ARGUMENT, "steps must be from 1 to 1024, not %d", steps);
  std::vector<bool> used((size_t)s.slots, false);
  for (int32_t i = 0; i < n_inputs; i++) {
    const int status = validate_input(s, inputs[i], i, steps);
    if (status != INK_OK) return status;
    if (used[(size_t)inputs[i].slot])
      return fail(INK_INVALID_ARGUMENT, "slot %d is used by two inputs of one call", inputs[i].slot);
    used[(size_t)inputs[i].slot] = true;
  }
  return INK_OK;
}

}  // namespace

extern "C" {

int32_t ink_abi_version(void) { return INK_ABI; }

const char *ink_last_error(void) { return ink::last_error(); }

const char *ink_isa_name(void) { return ink::isa_name(); }

const char *ink_isa_supported(void) { return ink::supported_isas(); }

int ink_isa_select(const char *name) { return ink::select_isa(name); }

size_t ink_model_packed_size(const ink_config *config) {
  if (config == nullptr || !ink::validate_config(*config)) return 0;
  return ink::layout_model(*config, nullptr, nullptr);
}

int ink_model_pack(const ink_config *config, const float *const *tensors, int32_t n_tensors, void *packed) {
  if (config == nullptr || tensors == nullptr || packed == nullptr) return null_argument();
  if (!ink::validate_config(*config)) return INK_INVALID_ARGUMENT;
  const int32_t expected = ink::count_tensors(*config);
  if (n_tensors != expected)
    return fail(INK_INVALID_ARGUMENT, "a model with this configuration has %d tensors, not %d", expected, n_tensors);
  for (int32_t i = 0; i < n_tensors; i++)
    if (tensors[i] == nullptr) return fail(INK_INVALID_ARGUMENT, "tensor %d is NULL", i);
  return catch_exceptions([&] { return ink::pack_model(*config, tensors, (uint8_t *)packed); });
}

int ink_model_open(const ink_config *config, const void *packed, size_t bytes, ink_model **model) {
  if (config == nullptr || packed == nullptr || model == nullptr) return null_argument();
  return catch_exceptions([&] { return ink::open_model(*config, packed, bytes, model); });
}

void ink_model_close(ink_model *model) { ink::close_model(model); }

int ink_session_open(const ink_model *model, int32_t slots, int32_t threads, ink_session **session) {
  if (model == nullptr || session == nullptr) return null_argument();
  if (slots < 1 || slots > 4096) return fail(INK_INVALID_ARGUMENT, "slots must be from 1 to 4096, not %d", slots);
  if (threads < 1) return fail(INK_INVALID_ARGUMENT, "threads must be at least 1, not %d", threads);
  return catch_exceptions([&] {
    *session = new ink_session(*model, slots, std::min((int)threads, ink::available_cores()));
    return (int)INK_OK;
  });
}

void ink_session_close(ink_session *session) { delete session; }

size_t ink_session_slot_size(const ink_config *config) {
  return config != nullptr && ink::validate_config(*config) ? ink::slot_size(*config) : 0;
}

int ink_session_copy_slot(ink_session *session, int32_t source, int32_t target, int32_t length) {
  if (session == nullptr) return null_argument();
  const int32_t last = session->slots - 1, block_size = session->model.config.block_size;
  if (source < 0 || source > last || target < 0 || target > last)
    return fail(INK_INVALID_ARGUMENT, "slots must be from 0 to %d, not %d and %d", last, source, target);
  if (length < 0 || length > block_size)
    return fail(INK_INVALID_ARGUMENT, "length must be from 0 to %d, not %d", block_size, length);
  if (source != target) session->copy_slot(source, target, length);
  return INK_OK;
}

int ink_session_run(ink_session *session, ink_model_input *inputs, int32_t n_inputs, int32_t steps) {
  if (session == nullptr || inputs == nullptr) return null_argument();
  return catch_exceptions([&] {
    const int status = validate_call(*session, inputs, n_inputs, steps);
    if (status != INK_OK) return status;
    size_t outputs = 0;
    for (int32_t i = 0; i < n_inputs; i++) outputs += (size_t)inputs[i].n_outputs;
    session->reserve_logits(std::min(outputs, (size_t)ink::MAX_ROWS));
    for (auto &buffers : session->sampling_buffers) buffers.reserve(session->model.config.vocab_size);
    ink::run_batches(*session, inputs, n_inputs, steps);
    return (int)INK_OK;
  });
}

double ink_memory_bandwidth(size_t bytes, int32_t threads, int32_t rounds) {
  if (bytes < 1 || threads < 1 || rounds < 1) return 0.0;
  double bandwidth = 0.0;
  catch_exceptions([&] {
    bandwidth = ink::memory_bandwidth(bytes, std::min((int)threads, ink::available_cores()), rounds);
    return (int)INK_OK;
  });
  return bandwidth;
}

int32_t ink_sample(const float *logits, int32_t vocab_size, const ink_sampling_params *params, double u) {
  if (logits == nullptr || params == nullptr || vocab_size < 1) return -1;
  ink::SamplingBuffers buffers;
  buffers.reserve(vocab_size);
  return ink::sample(logits, vocab_size, *params, u, buffers);
}

double ink_uniform(uint64_t seed, uint64_t sample_index, int64_t position) {
  return ink::uniform(seed, sample_index, position);
}
}
