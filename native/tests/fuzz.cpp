// Fuzz test of the kernel's C API, to run under sanitizers or an emulator: `fuzz CASES [SEED]`.
//
// All buffers have exactly the required size, so the address sanitizer detects every access beyond them. Checks that
// the logits of a sequence do not depend on chunking, batching or the number of threads, that several decoding steps
// per call sample the same tokens as single steps, that a copied slot continues like the original, that all instruction
// sets give about the same logits, and that invalid arguments are rejected with an error message.
//
// Prints a checksum of the logits of the portable instruction set. They are computed with IEEE operations in a fixed
// order, so the checksum is the same on every CPU and with every compiler.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inkhorn.h"
#include "random_model.hpp"

namespace {

// The input of a sequence that needs logits, but no samples.
ink_model_input logits_input(int32_t slot, int32_t position, const std::vector<int32_t> &ids, int32_t n_outputs,
                             std::vector<float> &logits) {
  ink_model_input input{};
  input.slot = slot, input.position = position;
  input.ids = ids.data(), input.n_ids = (int32_t)ids.size();
  input.n_outputs = n_outputs, input.logits = n_outputs ? logits.data() : nullptr;
  return input;
}

// The logits after each id of a sequence, computed in one call without other sequences, by one thread.
std::vector<float> reference_logits(const Model &model, const std::vector<int32_t> &ids) {
  Session session(model, 1, 1);
  std::vector<float> logits(ids.size() * (size_t)model.config.vocab_size);
  std::vector<ink_model_input> inputs{logits_input(0, 0, ids, (int32_t)ids.size(), logits)};
  expect_status(INK_OK, session.run(inputs, 1), "run one sequence");
  return logits;
}

// Batches several sequences in random chunks, and sometimes rewinds one.
void check_batching(const Model &model) {
  const int32_t n_sequences = random_int(1, 4), vocab_size = model.config.vocab_size;
  Session session(model, n_sequences + random_int(0, 1), random_int(1, 3));
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::vector<float>> expected;
  std::vector<int32_t> computed((size_t)n_sequences, 0);
  for (int32_t i = 0; i < n_sequences; i++) {
    ids.push_back(random_ids(model, random_int(1, model.config.block_size)));
    expected.push_back(reference_logits(model, ids.back()));
  }
  for (bool unfinished = true; unfinished;) {
    unfinished = false;
    std::vector<ink_model_input> inputs;
    std::vector<std::vector<float>> logits((size_t)n_sequences);
    std::vector<std::vector<int32_t>> chunks((size_t)n_sequences);
    std::vector<std::pair<size_t, int32_t>> batch;  // the sequence and the number of outputs of each input
    for (size_t i = 0; i < (size_t)n_sequences; i++) {
      const auto size = (int32_t)ids[i].size();
      if (computed[i] > 0 && random_int(0, 19) == 0) computed[i] = random_int(0, computed[i]);
      const int32_t limit = random_int(0, 3) == 0 ? random_int(0, size) : random_int(0, 9);
      const int32_t count = std::min(size - computed[i], limit);
      unfinished = unfinished || computed[i] + count < size;
      if (count == 0) continue;
      const int32_t n_outputs = random_int(0, count);
      chunks[i].assign(ids[i].begin() + computed[i], ids[i].begin() + computed[i] + count);
      logits[i].resize((size_t)n_outputs * vocab_size);
      inputs.push_back(logits_input((int32_t)i, computed[i], chunks[i], n_outputs, logits[i]));
      batch.emplace_back(i, n_outputs);
      computed[i] += count;
    }
    if (inputs.empty()) continue;
    expect_status(INK_OK, session.run(inputs, 1), "run a batch");
    for (const auto &[i, n_outputs] : batch) {
      const size_t from = (size_t)(computed[i] - n_outputs) * vocab_size;
      require(n_outputs == 0 || std::memcmp(logits[i].data(), expected[i].data() + from, logits[i].size() * 4) == 0,
              "the logits depend on the batch");
    }
  }
}

// The tokens that are sampled after a prompt, with `steps` tokens per call.
std::vector<int32_t> generate(const Model &model, Session &session, int32_t slot, std::vector<int32_t> ids,
                              ink_sampling_params params, int32_t steps) {
  const size_t prompt_size = ids.size(), top = (size_t)std::max(0, params.top_logprobs);
  const bool with_logprobs = params.top_logprobs >= 0;
  int32_t position = 0;
  for (int32_t count = 0; position < model.config.block_size; position += count) {
    count = (int32_t)ids.size() - position;
    const int32_t call_steps = position == 0 ? 1 : steps;
    const std::vector<int32_t> chunk(ids.begin() + position, ids.end());
    std::vector<int32_t> tokens((size_t)call_steps), top_ids((size_t)call_steps * top);
    std::vector<float> logprobs(with_logprobs ? (size_t)call_steps * (1 + top) : 0);
    int32_t n_tokens = 0;
    params.position = (int64_t)ids.size();
    ink_model_input input{};
    input.slot = slot, input.position = position;
    input.ids = chunk.data(), input.n_ids = count, input.n_outputs = 1;
    input.sampling = &params, input.tokens = tokens.data(), input.n_tokens = &n_tokens;
    input.logprobs = with_logprobs ? logprobs.data() : nullptr, input.top_ids = top ? top_ids.data() : nullptr;
    std::vector<ink_model_input> inputs{input};
    expect_status(INK_OK, session.run(inputs, call_steps), "sample");
    require(n_tokens >= 1 && n_tokens <= call_steps, "number of sampled tokens");
    ids.insert(ids.end(), tokens.begin(), tokens.begin() + n_tokens);
    const int32_t last = tokens[(size_t)n_tokens - 1];
    if (last < 0 || last == params.end_token) break;
    count += n_tokens - 1;
  }
  return {ids.begin() + (long)prompt_size, ids.end()};
}

void check_sampling(const Model &model) {
  const int32_t vocab_size = model.config.vocab_size;
  std::vector<int32_t> banned;
  for (int32_t id = 0; id < vocab_size; id++)
    if (random_int(0, 9) == 0) banned.push_back(id);
  ink_sampling_params params{};
  params.temperature = random_int(0, 3) == 0 ? 0.0 : 0.1 + (random_weight() + 0.5) * 2;
  params.top_p = random_int(0, 1) ? 1.0 : 0.05 + (random_weight() + 0.5) * 0.9;
  params.min_p = random_int(0, 1) ? 0.0 : (random_weight() + 0.5);
  params.top_k = random_int(0, 1) ? 0 : random_int(1, vocab_size + 5);
  params.seed = random_bits(), params.sample_index = random_bits();
  params.top_logprobs = random_int(-1, std::min(vocab_size, 5));
  params.end_token = random_int(-1, vocab_size - 1);
  params.n_banned_ids = (int32_t)banned.size(), params.banned_ids = banned.data();
  Session session(model, 2, random_int(1, 3));
  const auto prompt = random_ids(model, random_int(1, model.config.block_size));
  const auto expected = generate(model, session, 0, prompt, params, 1);
  require(generate(model, session, 1, prompt, params, random_int(2, 20)) == expected,
          "the tokens depend on the number of steps per call");
}

void check_copy_slot(const Model &model) {
  Session session(model, 2, random_int(1, 3));
  const auto ids = random_ids(model, model.config.block_size);
  const auto expected = reference_logits(model, ids);
  const int32_t size = (int32_t)ids.size(), length = random_int(0, size - 1), vocab_size = model.config.vocab_size;
  std::vector<float> logits((size_t)(size - length) * vocab_size);
  std::vector<ink_model_input> inputs{logits_input(0, 0, ids, 0, logits)};
  expect_status(INK_OK, session.run(inputs, 1), "run before the copy");
  expect_status(INK_OK, ink_session_copy_slot(session.handle, 0, 1, length), "copy a slot");
  const std::vector<int32_t> suffix(ids.begin() + length, ids.end());
  inputs = {logits_input(1, length, suffix, size - length, logits)};
  expect_status(INK_OK, session.run(inputs, 1), "run after the copy");
  require(std::memcmp(logits.data(), expected.data() + (size_t)length * vocab_size, logits.size() * 4) == 0,
          "the copied slot gives different logits");
}

// Two sessions of one model run concurrently.
void check_concurrent_sessions(const Model &model) {
  const auto ids = random_ids(model, model.config.block_size);
  std::vector<float> logits[2];
  std::thread other([&] { logits[0] = reference_logits(model, ids); });
  logits[1] = reference_logits(model, ids);
  other.join();
  require(logits[0] == logits[1], "concurrent sessions give different logits");
}

void check_invalid_inputs(const Model &model) {
  const ink_config &c = model.config;
  Session session(model, 2, 1);
  const int32_t ids[2] = {0, 0}, invalid_id = c.vocab_size, not_ascending[2] = {0, 0};
  int32_t tokens[4], n_tokens;
  ink_model_input valid{};
  valid.n_ids = 1, valid.ids = ids;
  const auto rejects = [&](const char *what, int32_t steps, std::vector<ink_model_input> inputs) {
    expect_status(INK_INVALID_ARGUMENT, session.run(inputs, steps), what);
  };
  const auto with = [&](auto change) {
    ink_model_input input = valid;
    change(input);
    return input;
  };
  using Input = ink_model_input;
  rejects("steps", 0, {valid});
  rejects("no inputs", 1, {});
  rejects("too many inputs", 1, {valid, valid, valid});
  rejects("duplicate slot", 1, {valid, valid});
  rejects("slot too large", 1, {with([](Input &i) { i.slot = 2; })});
  rejects("negative slot", 1, {with([](Input &i) { i.slot = -1; })});
  rejects("position too large", 1, {with([&](Input &i) { i.position = c.block_size; })});
  rejects("negative position", 1, {with([](Input &i) { i.position = -1; })});
  rejects("no ids", 1, {with([](Input &i) { i.n_ids = 0; })});
  rejects("too many ids", 1, {with([](Input &i) { i.n_ids = INT32_MAX; })});
  rejects("ids is NULL", 1, {with([](Input &i) { i.ids = nullptr; })});
  rejects("id too large", 1, {with([&](Input &i) { i.ids = &invalid_id; })});
  rejects("n_outputs", 1, {with([](Input &i) { i.n_outputs = 2; })});

  using Params = ink_sampling_params;
  Params params{1.0, 1.0, 0.0, 0, 0, 0, 0, -1, -1, 0, nullptr}, changed;
  const auto with_params = [&](auto change) {
    changed = params;
    change(changed);
    return with([&](Input &i) { i.n_outputs = 1, i.sampling = &changed, i.tokens = tokens, i.n_tokens = &n_tokens; });
  };
  rejects("temperature", 1, {with_params([](Params &p) { p.temperature = __builtin_nan(""); })});
  rejects("top_p", 1, {with_params([](Params &p) { p.top_p = 0; })});
  rejects("top_k", 1, {with_params([](Params &p) { p.top_k = -1; })});
  rejects("logprobs is NULL", 1, {with_params([](Params &p) { p.top_logprobs = 1; })});
  rejects("banned_ids not ascending", 1,
          {with_params([&](Params &p) { p.n_banned_ids = 2, p.banned_ids = not_ascending; })});
  rejects("banned_ids is NULL", 1, {with_params([](Params &p) { p.n_banned_ids = 1; })});
  expect_status(INK_INVALID_ARGUMENT, ink_session_copy_slot(session.handle, 0, 2, 1), "copy to an invalid slot");
  expect_status(INK_INVALID_ARGUMENT, ink_session_copy_slot(session.handle, 0, 1, c.block_size + 1), "copy too much");
}

void check_invalid_handles(const Model &model) {
  const ink_config &c = model.config;
  expect_status(INK_INVALID_ARGUMENT, ink_session_run(nullptr, nullptr, 1, 1), "session is NULL");
  ink_session *session = nullptr;
  expect_status(INK_INVALID_ARGUMENT, ink_session_open(model.handle, 0, 1, &session), "slots");
  expect_status(INK_INVALID_ARGUMENT, ink_session_open(model.handle, 1, 0, &session), "threads");
  ink_model *opened = nullptr;
  const uint8_t *packed = model.packed.get();
  expect_status(INK_INVALID_ARGUMENT, ink_model_open(&c, packed, model.bytes - 64, &opened), "packed size");
  expect_status(INK_INVALID_ARGUMENT, ink_model_open(&c, packed + 1, model.bytes, &opened), "alignment");
  ink_config other = c;
  other.activation = (c.activation + 1) % 3;
  expect_status(INK_INVALID_ARGUMENT, ink_model_open(&other, packed, model.bytes, &opened), "another configuration");
  other.n_head = 0;
  require(ink_model_packed_size(&other) == 0, "packed size of an invalid configuration");
  expect_status(INK_INVALID_ARGUMENT, ink_isa_select("altivec"), "unsupported instruction set");
}

// Compares the logits on every instruction set with those of the portable one; returns these.
std::vector<float> check_isas(const Model &model, const std::vector<std::string> &isas) {
  const auto ids = random_ids(model, std::min(model.config.block_size, 40));
  expect_status(INK_OK, ink_isa_select("portable"), "select the portable instruction set");
  const auto expected = reference_logits(model, ids);
  double magnitude = 0;
  for (const float logit : expected) magnitude += (double)logit * logit;
  // A rounding difference may change an input of a product by one step of its precision.
  const double tolerance = model.config.precision == INK_FP32 ? 1e-4 : model.config.precision == INK_BF16 ? 0.02 : 0.05;
  for (const auto &isa : isas) {
    expect_status(INK_OK, ink_isa_select(isa.c_str()), "select an instruction set");
    const auto logits = reference_logits(model, ids);
    double error = 0;
    for (size_t i = 0; i < logits.size(); i++) error += ((double)logits[i] - expected[i]) * (logits[i] - expected[i]);
    const bool close = std::sqrt(error) <= tolerance * std::sqrt(magnitude) + 1e-4;
    if (!close)
      std::printf("%s: relative error %g, precision %d, n_embd %d, n_head %d\n", isa.c_str(),
                  std::sqrt(error / magnitude), model.config.precision, model.config.n_embd, model.config.n_head);
    require(close, "an instruction set gives other logits than the portable one");
  }
  return expected;
}

// FNV-1a of the bits of the logits.
uint64_t update_checksum(uint64_t checksum, const std::vector<float> &logits) {
  for (const float logit : logits) {
    uint32_t bits;
    std::memcpy(&bits, &logit, sizeof bits);
    checksum = (checksum ^ bits) * 0x100000001b3u;
  }
  return checksum;
}

std::vector<std::string> supported_isas() {
  std::vector<std::string> isas;
  for (std::string rest = ink_isa_supported(); !rest.empty();) {
    const size_t end = rest.find(' ');
    isas.push_back(rest.substr(0, end));
    rest = end == std::string::npos ? "" : rest.substr(end + 1);
  }
  return isas;
}

}  // namespace

int main(int count, char **arguments) {
  const long cases = count > 1 ? std::atol(arguments[1]) : 100, seed = count > 2 ? std::atol(arguments[2]) : 1;
  const auto isas = supported_isas();
  uint64_t checksum = 0xcbf29ce484222325u;
  for (current_case = 0; current_case < cases; current_case++) {
    random_bits.seed((uint64_t)(seed * 1000003 + current_case));
    const std::string &isa = isas[(size_t)current_case % isas.size()];
    const Model model(random_config());
    checksum = update_checksum(checksum, check_isas(model, isas));
    expect_status(INK_OK, ink_isa_select(isa.c_str()), "select an instruction set");
    check_batching(model);
    check_sampling(model);
    check_copy_slot(model);
    check_concurrent_sessions(model);
    check_invalid_inputs(model);
    check_invalid_handles(model);
  }
  std::printf("%ld cases on %s: %ld calls passed\n", cases, ink_isa_supported(), n_calls.load());
  std::printf("checksum of the portable logits: %016llx\n", (unsigned long long)checksum);
}
