// Sessions: memory, the plan of each pass, and the border where a caller's numbers are checked.
#include "session.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

namespace ink {

void FreeBlock::operator()(void *block) const { std::free(block); }

Memory::Memory(size_t bytes) : block_(std::calloc(bytes + LINE, 1)) {
  if (block_ == nullptr) throw std::bad_alloc();
  aligned_ = (void *)(((uintptr_t)block_.get() + LINE - 1) / LINE * LINE);
}

namespace {

size_t element_bytes(const ink_config &config) { return config.precision == INK_FP32 ? 4 : 2; }

size_t part_bytes(const ink_model &m) {
  return (size_t)m.config.n_head * m.block_size * m.head_width * element_bytes(m.config);
}

// Room for `rows` rows made ready for a product.
Workspace make_workspace(const ink_model &m, int32_t rows, bool scores) {
  const size_t widest = (size_t)std::max(m.width, m.inner), count = (size_t)rows;
  const size_t normed = count * m.width * 4, encoded = count * widest * 2, scales = round_up(rows, LANE_COUNT) * 4;
  const size_t sums = count * widest / LANE_COUNT * 4, line = LINE;
  const auto lines = [](size_t bytes) { return (bytes + LINE - 1) / LINE * LINE; };
  Workspace s{};
  s.memory = Memory(lines(normed) + lines(encoded) + lines(scales) + lines(sums) +
                    (scores ? (size_t)MAX_TILE * m.block_size * 4 : 0) + line);
  auto *at = s.memory.as<uint8_t>();
  const auto take = [&](size_t bytes) { return std::exchange(at, at + lines(bytes)); };
  s.normed = (float *)take(normed);
  s.encoded = take(encoded);
  s.scales = (float *)take(scales);
  s.sums = (int32_t *)take(sums);
  s.scores = scores ? (float *)at : nullptr;
  return s;
}

// What one call is at: which ids have been taken in, and who goes on drawing.
class Call {
 public:
  Call(ink_session &session, ink_item *items, int32_t n_items, int32_t steps)
      : s_(session), items_(items), n_items_(n_items), steps_(steps) {
    for (int32_t i = 0; i < n_items; i++)
      if (items[i].sampling != nullptr) *items[i].n_tokens = 0;
  }

  // Every member of the team: passes until nothing is left to do.
  void work(int id, Forward forward) {
    for (;;) {
      if (id == 0) plan();
      s_.team.meet();
      if (s_.n_rows == 0) return;
      forward(s_, id);
      deliver(id);
      s_.team.meet();
    }
  }

 private:
  void plan() {
    s_.n_rows = s_.n_tiles = s_.n_outputs = 0;
    while (item_ < n_items_ && s_.n_rows < MAX_ROWS) take_in(items_[item_]);
    if (s_.n_rows > 0) return;
    for (int32_t i = 0; i < n_items_ && s_.n_rows < MAX_ROWS; i++)
      if (next_ <= i && goes_on(items_[i])) {
        next_ = i + 1;
        const ink_item &item = items_[i];
        const int32_t drawn = *item.n_tokens;
        add(i, item.position + item.n_ids + drawn - item.n_outputs, item.tokens[drawn - 1], drawn);
      }
    if (s_.n_rows > 0) return;
    if (next_ > 0) {  // a whole step is done: the next one begins with the first item
      next_ = 0;
      if (++step_ < steps_) plan();
    }
  }

  // As many of an item's ids as the pass has room for.
  void take_in(const ink_item &item) {
    for (; id_ < item.n_ids && s_.n_rows < MAX_ROWS; id_++) {
      const int32_t output = id_ - (item.n_ids - item.n_outputs);
      add(item_, item.position + id_, item.ids[id_], output < 0 ? -1 : output);
    }
    if (id_ == item.n_ids) {
      item_++;
      id_ = 0;
    }
  }

  void add(int32_t item, int32_t position, int32_t token, int32_t output) {
    const int32_t row = s_.n_rows++;
    s_.rows[row] = {items_[item].slot, position, token, item, output};
    if (output >= 0) s_.outputs[s_.n_outputs++] = row;
    Tile *last = s_.n_tiles > 0 ? &s_.tiles[s_.n_tiles - 1] : nullptr;
    if (last != nullptr && last->count < MAX_TILE && s_.rows[last->first].item == item)
      last->count++;
    else
      s_.tiles[s_.n_tiles++] = {row, 1};
  }

  bool goes_on(const ink_item &item) const {
    if (item.sampling == nullptr || step_ >= steps_ || item.n_outputs != 1) return false;
    const int32_t drawn = *item.n_tokens;
    if (drawn != step_) return false;  // it has ended, or has its token of this step
    const int32_t token = item.tokens[drawn - 1];
    return token >= 0 && token != item.sampling->end_token &&
           item.position + item.n_ids + drawn - 1 < s_.model.config.block_size;
  }

  // What was wanted after the rows of this pass; outputs are shared out among the members.
  void deliver(int id) {
    const int32_t vocab = s_.model.config.vocab_size;
    for (int32_t o = id; o < s_.n_outputs; o += s_.team.size()) {
      const Row &row = s_.rows[s_.outputs[o]];
      const ink_item &item = items_[row.item];
      const float *logits = s_.logits + (size_t)o * s_.logits_stride;
      if (item.logits != nullptr && row.output < item.n_outputs)
        std::memcpy(item.logits + (size_t)row.output * vocab, logits, (size_t)vocab * 4);
      if (item.sampling == nullptr) continue;
      const ink_sampling &how = *item.sampling;
      Scratch &scratch = s_.sampling[(size_t)id];
      const double u = how.temperature > 0 ? uniform(how.seed, how.choice, how.place + row.output) : 0.0;
      const int32_t token = sample(logits, vocab, how, u, scratch);
      item.tokens[row.output] = token;
      if (how.top_logprobs >= 0 && token >= 0)
        log_probabilities(logits, vocab, token, how.top_logprobs,
                          item.logprobs + (size_t)row.output * (1 + how.top_logprobs),
                          item.top_ids + (size_t)row.output * how.top_logprobs, scratch);
      // Outputs of one item may fall to several members, but each stands for itself: the last one tells the count.
      if (row.output >= item.n_outputs - 1) *item.n_tokens = row.output + 1;
    }
  }

  ink_session &s_;
  ink_item *items_;
  const int32_t n_items_, steps_;
  int32_t item_ = 0, id_ = 0;  // the next id to take in
  int32_t step_ = 1;           // tokens that an item going on has drawn before this step
  int32_t next_ = 0;               // the first item that may not have been looked at in this step
};

int check(const ink_session &s, const ink_item *items, int32_t n_items, int32_t steps) {
  const ink_config &c = s.model.config;
  if (n_items < 1 || n_items > s.slots) return fail(INK_BAD_ARGUMENT, "a call takes 1 to %d items, not %d", s.slots, n_items);
  if (steps < 1 || steps > 1024) return fail(INK_BAD_ARGUMENT, "steps must be from 1 to 1024, not %d", steps);
  std::vector<bool> used((size_t)s.slots, false);
  for (int32_t i = 0; i < n_items; i++) {
    const ink_item &item = items[i];
    if (item.slot < 0 || item.slot >= s.slots)
      return fail(INK_BAD_ARGUMENT, "item %d: slot %d is not one of 0 to %d", i, item.slot, s.slots - 1);
    if (used[(size_t)item.slot]) return fail(INK_BAD_ARGUMENT, "slot %d stands twice in one call", item.slot);
    used[(size_t)item.slot] = true;
    if (item.n_ids < 1 || item.position < 0 || item.n_ids > c.block_size - item.position)
      return fail(INK_BAD_ARGUMENT, "item %d: %d tokens at position %d do not fit the block of %d", i, item.n_ids,
                  item.position, c.block_size);
    if (item.n_outputs < 0 || item.n_outputs > item.n_ids)
      return fail(INK_BAD_ARGUMENT, "item %d: %d outputs of %d tokens", i, item.n_outputs, item.n_ids);
    if (item.ids == nullptr) return fail(INK_BAD_ARGUMENT, "item %d: no ids", i);
    for (int32_t j = 0; j < item.n_ids; j++)
      if (item.ids[j] < 0 || item.ids[j] >= c.vocab_size)
        return fail(INK_BAD_ARGUMENT, "item %d: id %d is not one of 0 to %d", i, item.ids[j], c.vocab_size - 1);
    if (item.sampling == nullptr) continue;
    const ink_sampling &how = *item.sampling;
    if (item.tokens == nullptr || item.n_tokens == nullptr) return fail(INK_BAD_ARGUMENT, "item %d: nowhere for tokens", i);
    if (steps > 1 && item.n_outputs > 1) return fail(INK_BAD_ARGUMENT, "item %d: several outputs take a single step", i);
    if (!(how.temperature >= 0) || !(how.top_p > 0) || !(how.min_p >= 0) || how.top_k < 0)
      return fail(INK_BAD_ARGUMENT, "item %d: sampling parameters out of range", i);
    if (how.top_logprobs > c.vocab_size || (how.top_logprobs >= 0 && item.logprobs == nullptr) ||
        (how.top_logprobs > 0 && item.top_ids == nullptr))
      return fail(INK_BAD_ARGUMENT, "item %d: %d log-probabilities", i, how.top_logprobs);
    if (how.n_banned < 0 || (how.n_banned > 0 && how.banned == nullptr)) return fail(INK_BAD_ARGUMENT, "item %d: banned", i);
    for (int32_t j = 0; j < how.n_banned; j++)
      if (how.banned[j] < 0 || how.banned[j] >= c.vocab_size || (j > 0 && how.banned[j] <= how.banned[j - 1]))
        return fail(INK_BAD_ARGUMENT, "item %d: banned ids must be ascending and below %d", i, c.vocab_size);
  }
  return INK_OK;
}

}  // namespace

}  // namespace ink

ink_session::ink_session(const ink_model &m, int32_t slot_count, int threads)
    : model(m), slots(slot_count), team(threads), part_bytes(ink::part_bytes(m)) {
  using ink::MAX_ROWS;
  cache_memory = ink::Memory((size_t)slots * m.config.n_layer * 2 * part_bytes);
  caches = cache_memory.as<uint8_t>();
  const size_t rows = MAX_ROWS, floats = rows * (2 * (size_t)m.width + m.inner);
  const size_t queries = rows * m.config.n_head * m.head_width;
  buffers = ink::Memory((floats + queries) * 4);
  x = buffers.as<float>();
  y = x + rows * m.width;
  hidden = y + rows * m.width;
  q = (uint8_t *)(hidden + rows * m.inner);
  logits_stride = m.head.blocks * ink::LANE_COUNT;
  shared = ink::make_workspace(m, MAX_ROWS, false);
  for (int i = 0; i < team.most(); i++) own_memory.push_back(ink::make_workspace(m, ink::PRIVATE_ROWS, true));
  own = own_memory.data();
  sampling.resize((size_t)team.most());
  for (int32_t column = 0; column < 3 * m.config.n_embd; column++) {
    const int32_t within = column % m.config.n_embd;
    places_memory.push_back({column / m.config.n_embd, within / m.head_size, within % m.head_size});
  }
  places = places_memory.data();
}

namespace {

template <class Function>
int guarded(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc &) {
    return ink::fail(INK_NO_MEMORY, "not enough memory");
  } catch (const std::system_error &error) {
    return ink::fail(INK_NO_MEMORY, "cannot start a thread: %s", error.what());
  }
}

}  // namespace

extern "C" {

size_t ink_slot_bytes(const ink_config *config) {
  if (config == nullptr || !ink::valid(*config)) return 0;
  ink_model m{};
  std::vector<ink::Layer> layers((size_t)config->n_layer);
  m.layers = layers.data();
  ink::lay_out(*config, nullptr, &m);
  return ink::part_bytes(m) * 2 * (size_t)config->n_layer;
}

int ink_session_open(const ink_model *model, int32_t slots, int32_t threads, ink_session **session) {
  if (model == nullptr || session == nullptr) return ink::fail(INK_BAD_ARGUMENT, "null");
  if (slots < 1 || slots > 4096) return ink::fail(INK_BAD_ARGUMENT, "slots must be from 1 to 4096, not %d", slots);
  if (threads < 1) return ink::fail(INK_BAD_ARGUMENT, "threads must be at least 1, not %d", threads);
  return guarded([&] {
    *session = new ink_session(*model, slots, std::min((int)threads, ink::cores()));
    return (int)INK_OK;
  });
}

void ink_session_close(ink_session *session) { delete session; }

int ink_copy_slot(ink_session *session, int32_t from, int32_t to, int32_t length) {
  if (session == nullptr) return ink::fail(INK_BAD_ARGUMENT, "null");
  const ink_model &m = session->model;
  if (from < 0 || from >= session->slots || to < 0 || to >= session->slots)
    return ink::fail(INK_BAD_ARGUMENT, "slots %d and %d: there are %d", from, to, session->slots);
  if (length < 0 || length > m.config.block_size)
    return ink::fail(INK_BAD_ARGUMENT, "%d tokens do not fit the block of %d", length, m.config.block_size);
  if (from == to || length == 0) return INK_OK;
  // Whole blocks of sixteen positions: what they hold beyond the length is written again before it is read.
  const size_t element = ink::element_bytes(m.config), head = (size_t)m.block_size * m.head_width * element;
  const size_t bytes = (size_t)ink::round_up(length, ink::LANE_COUNT) * m.head_width * element;
  for (int32_t layer = 0; layer < m.config.n_layer; layer++)
    for (int32_t h = 0; h < m.config.n_head; h++) {
      std::memcpy(session->keys(to, layer) + h * head, session->keys(from, layer) + h * head, bytes);
      std::memcpy(session->values(to, layer) + h * head, session->values(from, layer) + h * head, bytes);
    }
  return INK_OK;
}

int ink_run(ink_session *session, ink_item *items, int32_t n_items, int32_t steps) {
  if (session == nullptr || items == nullptr) return ink::fail(INK_BAD_ARGUMENT, "null");
  return guarded([&] {
    const int status = ink::check(*session, items, n_items, steps);
    if (status != INK_OK) return status;
    size_t outputs = 0;
    for (int32_t i = 0; i < n_items; i++) outputs += (size_t)items[i].n_outputs;
    outputs = std::min(outputs, (size_t)ink::MAX_ROWS);
    if (outputs > session->logits_rows) {
      session->logits_memory = ink::Memory(outputs * session->logits_stride * 4);
      session->logits = session->logits_memory.as<float>();
      session->logits_rows = outputs;
    }
    for (auto &scratch : session->sampling) scratch.reserve(session->model.config.vocab_size);
    ink::Call call(*session, items, n_items, steps);
    const ink::Forward forward = ink::chosen_path();
    session->team.run([&](int id) { call.work(id, forward); });
    return (int)INK_OK;
  });
}
}
