// Random models and inputs for the fuzz test.
#pragma once
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "inkhorn.h"

inline std::mt19937_64 random_bits;
inline std::atomic<long> n_calls{0};
inline long current_case = 0;

inline int32_t random_int(int32_t low, int32_t high) {
  return low + (int32_t)(random_bits() % (uint64_t)(high - low + 1));
}
inline float random_weight() { return (float)(random_bits() >> 40) / (float)(1 << 24) - 0.5f; }

inline void require(bool ok, const char *what) {
  if (ok) return;
  std::printf("case %ld: %s (%s)\n", current_case, what, ink_last_error());
  std::exit(1);
}

inline void expect_status(int expected, int status, const char *what) {
  require(status == expected && (expected == INK_OK || std::strlen(ink_last_error()) > 0), what);
}

struct FreeDeleter {
  void operator()(void *block) const { std::free(block); }
};

// A model with random weights. The tensors and the packed block have exactly the required size.
struct Model {
  ink_config config{};
  std::unique_ptr<uint8_t, FreeDeleter> packed;
  size_t bytes = 0;
  ink_model *handle = nullptr;

  explicit Model(const ink_config &c) : config(c), bytes(ink_model_packed_size(&c)) {
    require(bytes > 0 && bytes % 64 == 0, "packed size of a valid configuration");
    packed.reset((uint8_t *)std::aligned_alloc(64, bytes));
    auto tensors = random_tensors(c);
    std::vector<const float *> pointers;
    for (const auto &tensor : tensors) pointers.push_back(tensor.data());
    expect_status(INK_OK, ink_model_pack(&c, pointers.data(), (int32_t)pointers.size(), packed.get()), "pack");
    expect_status(INK_OK, ink_model_open(&c, packed.get(), bytes, &handle), "open");
    const_cast<float *>(pointers.back())[0] = __builtin_nanf("");
    std::unique_ptr<uint8_t, FreeDeleter> damaged((uint8_t *)std::aligned_alloc(64, bytes));
    expect_status(INK_NOT_FINITE, ink_model_pack(&c, pointers.data(), (int32_t)pointers.size(), damaged.get()),
                  "pack NaN");
  }
  ~Model() { ink_model_close(handle); }

  static std::vector<std::vector<float>> random_tensors(const ink_config &c) {
    std::vector<std::vector<float>> tensors;
    const auto add = [&](size_t size) {
      tensors.emplace_back(size);
      for (float &w : tensors.back()) w = random_weight();
    };
    const size_t n_embd = (size_t)c.n_embd, n_inner = (size_t)c.n_inner;
    add(c.vocab_size * n_embd), add(c.block_size * n_embd);
    for (int32_t i = 0; i < c.n_layer; i++) {
      add(n_embd), add(n_embd), add(n_embd * 3 * n_embd), add(3 * n_embd), add(n_embd * n_embd), add(n_embd);
      add(n_embd), add(n_embd), add(n_embd * n_inner), add(n_inner), add(n_inner * n_embd), add(n_embd);
    }
    if (c.pre_norm) add(n_embd), add(n_embd);
    if (!c.tie_word_embeddings) add(c.vocab_size * n_embd);
    return tensors;
  }
};

struct Session {
  ink_session *handle = nullptr;
  Session(const Model &model, int32_t slots, int32_t threads) {
    expect_status(INK_OK, ink_session_open(model.handle, slots, threads, &handle), "open a session");
  }
  ~Session() { ink_session_close(handle); }
  int run(std::vector<ink_model_input> &inputs, int32_t steps) {
    n_calls++;
    return ink_session_run(handle, inputs.data(), (int32_t)inputs.size(), steps);
  }
};

inline ink_config random_config() {
  constexpr int32_t groups[] = {0, 32, 64, 128};
  ink_config c{};
  c.vocab_size = random_int(1, 150), c.n_layer = random_int(1, 3), c.n_head = random_int(1, 4);
  // sometimes more positions than one forward pass holds
  c.block_size = random_int(0, 9) == 0 ? random_int(260, 600) : random_int(1, 70);
  c.n_embd = c.n_head * random_int(1, 40), c.n_inner = random_int(1, 150);
  c.pre_norm = random_int(0, 1), c.tie_word_embeddings = random_int(0, 1), c.activation = random_int(0, 2);
  c.precision = random_int(0, 3), c.group_size = groups[random_int(0, 3)], c.layer_norm_epsilon = 1e-5f;
  return c;
}

inline std::vector<int32_t> random_ids(const Model &model, int32_t count) {
  std::vector<int32_t> ids((size_t)count);
  for (int32_t &id : ids) id = random_int(0, model.config.vocab_size - 1);
  return ids;
}
