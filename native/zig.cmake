# A CMake toolchain that cross-compiles with the Zig compiler of the PyPI package `ziglang`, which is Clang with the C and
# C++ libraries of every target. Set INK_ZIG to the `zig` executable and INK_TARGET to a target of
# release/cross.py, for example aarch64-linux-gnu.2.28.
set(INK_ZIG "" CACHE FILEPATH "the zig executable")
set(INK_TARGET "" CACHE STRING "the target: architecture, operating system and ABI")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES INK_ZIG INK_TARGET)

string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR "${INK_TARGET}")
if(INK_TARGET MATCHES "macos")
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_INSTALL_NAME_TOOL "${INK_ZIG}")  # CMake requires one; only `cmake --install` would run it
elseif(INK_TARGET MATCHES "windows")
  set(CMAKE_SYSTEM_NAME Windows)
  set(CMAKE_RC_COMPILER "${INK_ZIG}")  # CMake requires one, without arguments; only resource files would run it
else()
  set(CMAKE_SYSTEM_NAME Linux)
endif()

# Zig compiles its C++ library once for each level of optimization, and again with debug information. CMake's own checks
# use the flags of the build; -s leaves out debug information.
set(CMAKE_CXX_COMPILER_ID_FLAGS "-O3 -s")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-s")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-s")
set(CMAKE_TRY_COMPILE_CONFIGURATION Release)
set(CMAKE_CXX_COMPILER "${INK_ZIG}" c++ -target ${INK_TARGET})
