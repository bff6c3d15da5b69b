#include "batch.hpp"

#include <cstring>

#include "dispatch.hpp"
#include "session.hpp"

namespace ink {

namespace {

// The state of one call: which ids have been processed, and which inputs continue to sample.
class Call {
 public:
  Call(ink_session &session, ink_model_input *inputs, int32_t n_inputs, int32_t steps)
      : s_(session), batch_(session.batch), inputs_(inputs), n_inputs_(n_inputs), steps_(steps) {
    for (int32_t i = 0; i < n_inputs; i++)
      if (inputs[i].sampling != nullptr) *inputs[i].n_tokens = 0;
  }

  // Forward passes until the call is complete. Each is a job of its own, so that the team can change its size between
  // them.
  void run(ForwardFunction forward) {
    for (plan(); batch_.n_rows > 0; plan())
      s_.team.run([&](int id) {
        forward(s_, id);
        emit(id);
      });
  }

 private:
  // Fill the batch of the next forward pass; it stays empty if the call is complete.
  void plan() {
    batch_.n_rows = batch_.n_tiles = batch_.n_outputs = 0;
    while (input_ < n_inputs_ && batch_.n_rows < MAX_ROWS) add_ids(inputs_[input_]);
    if (batch_.n_rows > 0) return;
    for (int32_t i = 0; i < n_inputs_ && batch_.n_rows < MAX_ROWS; i++)
      if (next_ <= i && can_continue(inputs_[i])) {
        next_ = i + 1;
        const ink_model_input &input = inputs_[i];
        const int32_t sampled = *input.n_tokens;
        add_row(i, input.position + input.n_ids + sampled - input.n_outputs, input.tokens[sampled - 1], sampled);
      }
    if (batch_.n_rows > 0) return;
    if (next_ > 0) {  // every input has its token of this step: start the next step
      next_ = 0;
      if (++step_ < steps_) plan();
    }
  }

  // Add the next ids of an input, as many as fit into the batch.
  void add_ids(const ink_model_input &input) {
    for (; id_ < input.n_ids && batch_.n_rows < MAX_ROWS; id_++) {
      const int32_t output = id_ - (input.n_ids - input.n_outputs);
      add_row(input_, input.position + id_, input.ids[id_], output < 0 ? -1 : output);
    }
    if (id_ == input.n_ids) {
      input_++;
      id_ = 0;
    }
  }

  void add_row(int32_t input, int32_t position, int32_t token, int32_t output) {
    const int32_t row = batch_.n_rows++;
    batch_.rows[row] = {inputs_[input].slot, position, token, input, output};
    if (output >= 0) batch_.output_rows[batch_.n_outputs++] = row;
    Tile *last = batch_.n_tiles > 0 ? &batch_.tiles[batch_.n_tiles - 1] : nullptr;
    if (last != nullptr && last->n_rows < MAX_TILE_ROWS && batch_.rows[last->first_row].input == input)
      last->n_rows++;
    else
      batch_.tiles[batch_.n_tiles++] = {row, 1};
  }

  bool can_continue(const ink_model_input &input) const {
    if (input.sampling == nullptr || step_ >= steps_ || input.n_outputs != 1) return false;
    const int32_t sampled = *input.n_tokens;
    if (sampled != step_) return false;  // it has ended, or has its token of this step
    const int32_t token = input.tokens[sampled - 1];
    return token >= 0 && token != input.sampling->end_token &&
           input.position + input.n_ids + sampled - 1 < s_.model.config.block_size;
  }

  // Write the outputs of this forward pass to the inputs' buffers; the members of the team share the outputs.
  void emit(int id) {
    const int32_t vocab_size = s_.model.config.vocab_size;
    for (int32_t o = id; o < batch_.n_outputs; o += s_.team.size()) {
      const Row &row = batch_.rows[batch_.output_rows[o]];
      const ink_model_input &input = inputs_[row.input];
      const float *logits = s_.logits + (size_t)o * s_.logits_stride;
      if (input.logits != nullptr && row.output < input.n_outputs)
        std::memcpy(input.logits + (size_t)row.output * vocab_size, logits, (size_t)vocab_size * 4);
      if (input.sampling != nullptr) emit_token(input, row.output, logits, s_.sampling_buffers[(size_t)id]);
    }
  }

  void emit_token(const ink_model_input &input, int32_t output, const float *logits, SamplingBuffers &buffers) {
    const ink_sampling_params &params = *input.sampling;
    const int32_t vocab_size = s_.model.config.vocab_size;
    const double u = params.temperature > 0 ? uniform(params.seed, params.sample_index, params.position + output) : 0.0;
    const int32_t token = sample(logits, vocab_size, params, u, buffers);
    input.tokens[output] = token;
    if (params.top_logprobs >= 0 && token >= 0)
      log_probabilities(logits, vocab_size, token, params.top_logprobs,
                        input.logprobs + (size_t)output * (1 + params.top_logprobs),
                        input.top_ids + (size_t)output * params.top_logprobs, buffers);
    // Several members may emit the outputs of one input; the one with the last output sets the count.
    if (output >= input.n_outputs - 1) *input.n_tokens = output + 1;
  }

  ink_session &s_;
  Batch &batch_;
  ink_model_input *inputs_;
  const int32_t n_inputs_, steps_;
  int32_t input_ = 0, id_ = 0;  // the next id to process
  int32_t step_ = 1;            // the number of tokens that a continuing input has sampled before this step
  int32_t next_ = 0;            // the first input that this step has not considered yet
};

}  // namespace

void run_batches(ink_session &session, ink_model_input *inputs, int32_t n_inputs, int32_t steps) {
  session.set_edits(inputs, n_inputs);
  Call(session, inputs, n_inputs, steps).run(forward_function());
}

}  // namespace ink
