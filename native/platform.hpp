// What differs between operating systems.
#pragma once

namespace ink {

// The number of cores that this process may use.
int available_cores();

// Ask the operating system to let this process use AMX tiles; returns whether it does.
bool request_amx();

}  // namespace ink
