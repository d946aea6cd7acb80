#pragma once

#include <ATen/record_function.h>

#include <string>
#include <vector>

namespace ddpm::testing {

/// Runs `body` and names every operator in it that copies a tensor's values to the host: on a GPU,
/// each would make the host wait for the device.
template <typename Body>
std::vector<std::string> host_reads(const Body& body) {
  static thread_local std::vector<std::string>* found = nullptr;
  std::vector<std::string> reads;
  found = &reads;
  const auto on_enter = [](const at::RecordFunction& call) -> std::unique_ptr<at::ObserverContext> {
    const std::string name = call.name();
    for (const char* read : {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero",
                             "aten::equal", "aten::nonzero", "aten::masked_select"}) {
      if (name == read) found->push_back(name);
    }
    return nullptr;
  };
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(on_enter).scopes({at::RecordScope::FUNCTION}));
  body();
  at::removeCallback(handle);
  found = nullptr;
  return reads;
}

}  // namespace ddpm::testing
