// Compiled once for each instruction path, with INK_PATH its name and the compiler's flags its instructions.
#include "forward.hpp"

namespace ink::INK_PATH {

void forward(ink_session &session, int id) {
  if (session.model.config.precision == INK_FP32)
    pass<Full>(session, id);
  else
    pass<Half>(session, id);
}

}  // namespace ink::INK_PATH
