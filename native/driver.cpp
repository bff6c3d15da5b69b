// Random shapes and requests through the kernel's C interface, to run under the sanitizers: `driver CASES [SEED]`.
//
// Every buffer has exactly the size it needs, so that a step beyond it is seen. What is checked: a text that is taken in
// whole and alone gives the same bits in chunks, in company and with other numbers of threads; bursts draw what single
// steps draw; a copied slot goes on as the original; and wrong arguments are refused, each with a message.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "inkhorn.h"

namespace {

std::mt19937_64 random_bits;
std::atomic<long> calls{0};
long current = 0;

int32_t between(int32_t low, int32_t high) { return low + (int32_t)(random_bits() % (uint64_t)(high - low + 1)); }
float number() { return (float)(random_bits() >> 40) / (float)(1 << 24) - 0.5f; }

void require(bool ok, const char *what) {
  if (ok) return;
  std::printf("case %ld: %s (%s)\n", current, what, ink_message());
  std::exit(1);
}

void expect(int status, int found, const char *what) {
  require(found == status && (status == INK_OK || std::strlen(ink_message()) > 0), what);
}

struct Free {
  void operator()(void *block) const { std::free(block); }
};

// A model with random weights, its tensors and its packed block each of exactly their size.
struct Model {
  ink_config config{};
  std::unique_ptr<uint8_t, Free> packed;
  size_t bytes = 0;
  ink_model *handle = nullptr;

  explicit Model(const ink_config &c) : config(c), bytes(ink_packed_size(&c)) {
    require(bytes > 0 && bytes % 64 == 0, "a valid shape has a size");
    packed.reset((uint8_t *)std::aligned_alloc(64, bytes));
    auto tensors = weights(c);
    std::vector<const float *> pointers;
    for (const auto &tensor : tensors) pointers.push_back(tensor.data());
    expect(INK_OK, ink_pack(&c, pointers.data(), (int32_t)pointers.size(), packed.get()), "pack");
    expect(INK_OK, ink_model_open(&c, packed.get(), bytes, &handle), "open");
    const_cast<float *>(pointers.back())[0] = __builtin_nanf("");
    std::unique_ptr<uint8_t, Free> spoiled((uint8_t *)std::aligned_alloc(64, bytes));
    expect(INK_NOT_FINITE, ink_pack(&c, pointers.data(), (int32_t)pointers.size(), spoiled.get()), "not finite");
  }
  ~Model() { ink_model_close(handle); }

  static std::vector<std::vector<float>> weights(const ink_config &c) {
    std::vector<std::vector<float>> tensors;
    const auto add = [&](size_t size) {
      tensors.emplace_back(size);
      for (float &w : tensors.back()) w = number();
    };
    const size_t width = (size_t)c.n_embd, inner = (size_t)c.n_inner;
    add(c.vocab_size * width), add(c.block_size * width);
    for (int32_t i = 0; i < c.n_layer; i++) {
      add(width), add(width), add(width * 3 * width), add(3 * width), add(width * width), add(width);
      add(width), add(width), add(width * inner), add(inner), add(inner * width), add(width);
    }
    if (c.pre_norm) add(width), add(width);
    if (!c.tied) add(c.vocab_size * width);
    return tensors;
  }
};

struct Session {
  ink_session *handle = nullptr;
  Session(const Model &model, int32_t slots, int32_t threads) {
    expect(INK_OK, ink_session_open(model.handle, slots, threads, &handle), "session");
  }
  ~Session() { ink_session_close(handle); }
  int run(std::vector<ink_item> &items, int32_t steps) {
    calls++;
    return ink_run(handle, items.data(), (int32_t)items.size(), steps);
  }
};

ink_config random_config() {
  constexpr int32_t groups[] = {0, 32, 64, 128};
  ink_config c{};
  c.vocab_size = between(1, 150), c.n_layer = between(1, 3), c.n_head = between(1, 4);
  c.block_size = between(0, 9) == 0 ? between(260, 600) : between(1, 70);  // sometimes more than one pass takes
  c.n_embd = c.n_head * between(1, 40), c.n_inner = between(1, 150);
  c.pre_norm = between(0, 1), c.tied = between(0, 1), c.activation = between(0, 2);
  c.precision = between(0, 3), c.group = groups[between(0, 3)], c.layer_norm_epsilon = 1e-5f;
  return c;
}

std::vector<int32_t> random_ids(const Model &model, int32_t count) {
  std::vector<int32_t> ids((size_t)count);
  for (int32_t &id : ids) id = between(0, model.config.vocab_size - 1);
  return ids;
}

std::vector<float> whole(const Model &model, const std::vector<int32_t> &ids) {
  Session session(model, 1, 1);
  const auto count = (int32_t)ids.size();
  std::vector<float> logits(ids.size() * (size_t)model.config.vocab_size);
  std::vector<ink_item> items{{0, 0, count, count, ids.data(), nullptr, logits.data(), nullptr, nullptr, nullptr, nullptr}};
  expect(INK_OK, session.run(items, 1), "a text alone");
  return logits;
}

// Several texts side by side in random chunks and slots, now and then set back: bits as for each alone.
void check_company(const Model &model) {
  const int32_t texts = between(1, 4), vocab = model.config.vocab_size;
  Session session(model, texts + between(0, 1), between(1, 3));
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::vector<float>> expected;
  std::vector<int32_t> done((size_t)texts, 0);
  for (int32_t i = 0; i < texts; i++) {
    ids.push_back(random_ids(model, between(1, model.config.block_size)));
    expected.push_back(whole(model, ids.back()));
  }
  for (bool left = true; left;) {
    left = false;
    std::vector<ink_item> items;
    std::vector<std::vector<float>> logits((size_t)texts);
    std::vector<std::vector<int32_t>> chunks((size_t)texts);
    std::vector<std::pair<size_t, int32_t>> whose;
    for (size_t i = 0; i < (size_t)texts; i++) {
      const auto size = (int32_t)ids[i].size();
      if (done[i] > 0 && between(0, 19) == 0) done[i] = between(0, done[i]);
      const int32_t count = std::min(size - done[i], between(0, 3) == 0 ? between(0, size) : between(0, 9));
      left = left || done[i] + count < size;
      if (count == 0) continue;
      const int32_t outputs = between(0, count);
      chunks[i].assign(ids[i].begin() + done[i], ids[i].begin() + done[i] + count);
      logits[i].resize((size_t)outputs * vocab);
      items.push_back({(int32_t)i, done[i], count, outputs, chunks[i].data(), nullptr, outputs ? logits[i].data() : nullptr,
                       nullptr, nullptr, nullptr, nullptr});
      whose.emplace_back(i, outputs);
      done[i] += count;
    }
    if (items.empty()) continue;
    expect(INK_OK, session.run(items, 1), "texts in company");
    for (const auto &[i, outputs] : whose) {
      const size_t from = (size_t)(done[i] - outputs) * vocab;
      require(outputs == 0 || std::memcmp(logits[i].data(), expected[i].data() + from, logits[i].size() * 4) == 0,
              "company changed the bits");
    }
  }
}

// One text drawn by `steps` at a time.
std::vector<int32_t> draw(const Model &model, Session &session, int32_t slot, std::vector<int32_t> ids, ink_sampling how,
                          int32_t steps) {
  const size_t start = ids.size(), top = (size_t)std::max(0, how.top_logprobs);
  const int32_t block = model.config.block_size;
  int32_t position = 0;
  for (int32_t count = 0; position < block; position += count) {
    count = (int32_t)ids.size() - position;
    const int32_t now = position == 0 ? 1 : steps;
    const std::vector<int32_t> chunk(ids.begin() + position, ids.end());
    std::vector<int32_t> tokens((size_t)now), top_ids((size_t)now * top);
    std::vector<float> logprobs(how.top_logprobs < 0 ? 0 : (size_t)now * (1 + top));
    int32_t drawn = 0;
    how.place = (int64_t)ids.size();
    std::vector<ink_item> items{{slot, position, count, 1, chunk.data(), &how, nullptr, tokens.data(), &drawn,
                                 how.top_logprobs < 0 ? nullptr : logprobs.data(), top ? top_ids.data() : nullptr}};
    expect(INK_OK, session.run(items, now), "drawing");
    require(drawn >= 1 && drawn <= now, "how many were drawn");
    ids.insert(ids.end(), tokens.begin(), tokens.begin() + drawn);
    if (tokens[(size_t)drawn - 1] < 0 || tokens[(size_t)drawn - 1] == how.end_token) break;
    count += drawn - 1;
  }
  return {ids.begin() + (long)start, ids.end()};
}

void check_drawing(const Model &model) {
  const int32_t vocab = model.config.vocab_size;
  std::vector<int32_t> banned;
  for (int32_t id = 0; id < vocab; id++)
    if (between(0, 9) == 0) banned.push_back(id);
  ink_sampling how{};
  how.temperature = between(0, 3) == 0 ? 0.0 : 0.1 + (number() + 0.5) * 2;
  how.top_p = between(0, 1) ? 1.0 : 0.05 + (number() + 0.5) * 0.9;
  how.min_p = between(0, 1) ? 0.0 : (number() + 0.5);
  how.top_k = between(0, 1) ? 0 : between(1, vocab + 5);
  how.seed = random_bits(), how.choice = random_bits();
  how.top_logprobs = between(-1, std::min(vocab, 5));
  how.end_token = between(-1, vocab - 1);
  how.n_banned = (int32_t)banned.size(), how.banned = banned.data();
  Session session(model, 2, between(1, 3));
  const auto prompt = random_ids(model, between(1, model.config.block_size));
  const auto one_by_one = draw(model, session, 0, prompt, how, 1);
  require(draw(model, session, 1, prompt, how, between(2, 20)) == one_by_one, "bursts draw something else");
}

void check_copy(const Model &model) {
  Session session(model, 2, between(1, 3));
  const auto ids = random_ids(model, model.config.block_size);
  const auto expected = whole(model, ids);
  const int32_t size = (int32_t)ids.size(), cut = between(0, size - 1), vocab = model.config.vocab_size;
  std::vector<ink_item> first{{0, 0, size, 0, ids.data(), nullptr, nullptr, nullptr, nullptr, nullptr, nullptr}};
  expect(INK_OK, session.run(first, 1), "before the copy");
  expect(INK_OK, ink_copy_slot(session.handle, 0, 1, cut), "copy");
  std::vector<float> logits((size_t)(size - cut) * vocab);
  std::vector<ink_item> rest{{1, cut, size - cut, size - cut, ids.data() + cut, nullptr, logits.data(), nullptr, nullptr,
                              nullptr, nullptr}};
  expect(INK_OK, session.run(rest, 1), "after the copy");
  require(std::memcmp(logits.data(), expected.data() + (size_t)cut * vocab, logits.size() * 4) == 0, "the copy differs");
}

// Two sessions of one model at the same time.
void check_side_by_side(const Model &model) {
  const auto ids = random_ids(model, model.config.block_size);
  std::vector<float> found[2];
  std::thread other([&] { found[0] = whole(model, ids); });
  found[1] = whole(model, ids);
  other.join();
  require(found[0] == found[1], "two sessions disagree");
}

void check_refusals(const Model &model) {
  const ink_config &c = model.config;
  Session session(model, 2, 1);
  const int32_t ids[2] = {0, 0}, wrong = c.vocab_size, unsorted[2] = {0, 0};
  int32_t tokens[4], drawn;
  const ink_item good{0, 0, 1, 0, ids, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
  const auto refused = [&](const char *what, int32_t steps, std::initializer_list<ink_item> items) {
    std::vector<ink_item> list(items);
    expect(INK_BAD_ARGUMENT, session.run(list, steps), what);
  };
  const auto with = [&](auto change) {
    ink_item item = good;
    change(item);
    return item;
  };
  refused("no steps", 0, {good});
  refused("no items", 1, {});
  refused("too many items", 1, {good, good, good});
  refused("a slot twice", 1, {good, good});
  refused("slot", 1, {with([](ink_item &i) { i.slot = 2; })});
  refused("slot below 0", 1, {with([](ink_item &i) { i.slot = -1; })});
  refused("position", 1, {with([&](ink_item &i) { i.position = c.block_size; })});
  refused("position below 0", 1, {with([](ink_item &i) { i.position = -1; })});
  refused("no ids", 1, {with([](ink_item &i) { i.n_ids = 0; })});
  refused("too many ids", 1, {with([](ink_item &i) { i.n_ids = INT32_MAX; })});
  refused("null ids", 1, {with([](ink_item &i) { i.ids = nullptr; })});
  refused("an id", 1, {with([&](ink_item &i) { i.ids = &wrong; })});
  refused("outputs", 1, {with([](ink_item &i) { i.n_outputs = 2; })});
  ink_sampling how{1.0, 1.0, 0.0, 0, 0, 0, 0, -1, -1, 0, nullptr};
  const auto sampling = [&](auto change) {
    static ink_sampling changed;
    changed = how;
    change(changed);
    return with([&](ink_item &i) { i.n_outputs = 1, i.sampling = &changed, i.tokens = tokens, i.n_tokens = &drawn; });
  };
  refused("temperature", 1, {sampling([](ink_sampling &s) { s.temperature = __builtin_nan(""); })});
  refused("top_p", 1, {sampling([](ink_sampling &s) { s.top_p = 0; })});
  refused("top_k", 1, {sampling([](ink_sampling &s) { s.top_k = -1; })});
  refused("logprobs", 1, {sampling([](ink_sampling &s) { s.top_logprobs = 1; })});
  refused("banned", 1, {sampling([&](ink_sampling &s) { s.n_banned = 2, s.banned = unsorted; })});
  refused("null banned", 1, {sampling([](ink_sampling &s) { s.n_banned = 1; })});
  expect(INK_BAD_ARGUMENT, ink_run(nullptr, nullptr, 1, 1), "null");
  expect(INK_BAD_ARGUMENT, ink_copy_slot(session.handle, 0, 2, 1), "copy to nowhere");
  expect(INK_BAD_ARGUMENT, ink_copy_slot(session.handle, 0, 1, c.block_size + 1), "copy too much");
  ink_session *none = nullptr;
  expect(INK_BAD_ARGUMENT, ink_session_open(model.handle, 0, 1, &none), "no slots");
  expect(INK_BAD_ARGUMENT, ink_session_open(model.handle, 1, 0, &none), "no threads");
  ink_model *opened = nullptr;
  expect(INK_BAD_ARGUMENT, ink_model_open(&c, model.packed.get(), model.bytes - 64, &opened), "size");
  expect(INK_BAD_ARGUMENT, ink_model_open(&c, model.packed.get() + 1, model.bytes, &opened), "alignment");
  ink_config other = c;
  other.activation = (c.activation + 1) % 3;
  expect(INK_BAD_ARGUMENT, ink_model_open(&other, model.packed.get(), model.bytes, &opened), "another shape");
  other.n_head = 0;
  require(ink_packed_size(&other) == 0, "a shape that cannot be");
  expect(INK_BAD_ARGUMENT, ink_choose_path("altivec"), "path");
}

}  // namespace

int main(int count, char **arguments) {
  const long cases = count > 1 ? std::atol(arguments[1]) : 100, seed = count > 2 ? std::atol(arguments[2]) : 1;
  std::vector<std::string> paths;
  for (std::string rest = ink_paths(); !rest.empty();) {
    const size_t end = rest.find(' ');
    paths.push_back(rest.substr(0, end));
    rest = end == std::string::npos ? "" : rest.substr(end + 1);
  }
  for (current = 0; current < cases; current++) {
    random_bits.seed((uint64_t)(seed * 1000003 + current));
    expect(INK_OK, ink_choose_path(paths[(size_t)current % paths.size()].c_str()), "path");
    const Model model(random_config());
    check_company(model);
    check_drawing(model);
    check_copy(model);
    check_side_by_side(model);
    check_refusals(model);
  }
  std::printf("%ld cases on %s: %ld calls, all as they should be\n", cases, ink_paths(), calls.load());
}
