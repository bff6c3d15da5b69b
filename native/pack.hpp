// Converts float32 tensors to the layout of model.hpp.
#pragma once
#include <cstdint>

#include "inkhorn.h"

namespace ink {

// The number of tensors in a checkpoint with this configuration.
int32_t count_tensors(const ink_config &config);

// Pack the tensors into a block of layout_model's size; returns an ink_status. Throws std::bad_alloc or
// std::system_error.
int pack_model(const ink_config &config, const float *const *tensors, uint8_t *packed);

}  // namespace ink
