// Selects the instruction set at run time.
#pragma once

struct ink_session;

namespace ink {

// One forward pass of the session's batch, executed by worker `id` of its team.
using ForwardFunction = void (*)(ink_session &session, int id);

// The forward pass for the selected instruction set.
ForwardFunction forward_function();

const char *isa_name();
const char *supported_isas();
int select_isa(const char *name);  // null selects the best; returns an ink_status

}  // namespace ink
