// What functions of the addon share: their handles, arguments and errors.
#pragma once

#include <node_api.h>

#include <string>

#include "isa.h"
#include "memory.h"
#include "pool.h"

namespace dejavu {

// A pool, its kernels, and the way back to the JavaScript thread.
struct Device {
  const KernelTable* table;
  std::unique_ptr<Pool> pool;
  napi_threadsafe_function done = nullptr;
  int running = 0;  // programs in flight; they keep the event loop alive

  // Also runs when the environment ends, before its thread-safe functions do.
  static void end(void* data) { static_cast<Device*>(data)->pool.reset(); }

  void close(napi_env env) {
    if (!pool) return;
    napi_remove_env_cleanup_hook(env, end, this);
    pool.reset();
    napi_release_threadsafe_function(done, napi_tsfn_abort);
  }
};

// A Memory, and the holder that its ArrayBuffer keeps while it has one.
struct Piece {
  std::shared_ptr<Memory> memory;
  std::shared_ptr<Memory>* in_buffer = nullptr;
};

struct Pending {
  Device* device;
  napi_deferred deferred;
  std::shared_ptr<Run> timed;  // null: nobody asked for times
};

template <int count>
struct Arguments {
  napi_value value[count > 0 ? count : 1];

  Arguments(napi_env env, napi_callback_info info) {
    size_t n = count;
    napi_get_cb_info(env, info, &n, value, nullptr, nullptr);
  }
};

inline napi_value fail(napi_env env, const char* code, const std::string& message) {
  napi_throw_error(env, code, message.c_str());
  return nullptr;
}

template <class T>
T* handle(napi_env env, napi_value value) {
  void* data = nullptr;
  napi_get_value_external(env, value, &data);
  return static_cast<T*>(data);
}

template <class T>
napi_value wrap(napi_env env, T* data) {
  napi_value result;
  napi_create_external(
      env, data, [](napi_env, void* p, void*) { delete static_cast<T*>(p); }, nullptr, &result);
  return result;
}

inline std::string string_of(napi_env env, napi_value value) {
  size_t length = 0;
  napi_get_value_string_utf8(env, value, nullptr, 0, &length);
  std::string result(length, '\0');
  napi_get_value_string_utf8(env, value, result.data(), length + 1, &length);
  return result;
}

inline napi_value text(napi_env env, const char* s) {
  napi_value result;
  napi_create_string_utf8(env, s, NAPI_AUTO_LENGTH, &result);
  return result;
}

napi_value convert_matrix(napi_env env, napi_callback_info info);

}  // namespace dejavu
