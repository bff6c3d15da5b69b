// The forward pass for one instruction set. This file is compiled once per instruction set, with INK_ISA set to its
// name and with the compiler flags that enable it.
#include "forward.hpp"

namespace ink::INK_ISA {

void forward(ink_session &session, int id) {
  if (session.model.config.precision == INK_FP32)
    run_forward<KvF32>(session, id);
  else
    run_forward<KvBF16>(session, id);
}

}  // namespace ink::INK_ISA
