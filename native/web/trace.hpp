// What the page's inspector shows: intermediate values of a forward pass, and the logit lens.
#pragma once
#include <cstdint>
#include <vector>

#include "session.hpp"

namespace ink {

// The values of n rows. Rows are padded as in ink_model.
struct Trace {
  std::vector<float> residual;    // [n_layer + 1][n][n_embd_padded]: the stream before the first block, and after each
  std::vector<float> attention;   // [n_head][n][block_size_padded]: the weights of one layer
  std::vector<float> updates;     // [n_layer][2][n_embd_padded]: what attention and MLP add to the last row's stream
  std::vector<float> hidden;      // [n_inner_padded]: the hidden layer of the same layer's MLP, of the last row
  std::vector<float> embeddings;  // [n][2][n_embd_padded]: of each row's token and of its position
  std::vector<float> heads;       // [n_layer][n_embd_padded]: the outputs of the last row's heads, before c_proj
  std::vector<float> qkv;         // [n_head][n][3][head_size_padded]: query, key and value, of the layer
  // [3][n_embd_padded], of the last row: the input of the layer's first LayerNorm, its output, and the head's input
  std::vector<float> norms;
};

namespace portable {

// One forward pass of the session's batch, which is one sequence, that keeps the values. The session has one thread.
void trace(ink_session &session, int32_t layer, Trace &to);

// The logits of `count` rows of the residual stream, as if it went to the final layer norm and the head. They are
// stored in session.logits.
void lens(ink_session &session, const float *residual, int32_t count);

}  // namespace portable
}  // namespace ink
