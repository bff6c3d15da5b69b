// What differs between operating systems.
#pragma once

namespace ink {

// The number of cores that this process may use.
int available_cores();

// Optional instructions of an ARM CPU; all false on others.
struct ArmFeatures {
  bool dotprod = false, i8mm = false, bf16 = false;
};
ArmFeatures arm_features();

// Ask the operating system to let this process use AMX tiles; returns whether it does.
bool request_amx();

}  // namespace ink
