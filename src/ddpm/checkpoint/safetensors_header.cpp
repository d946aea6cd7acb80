#include "ddpm/checkpoint/safetensors_header.h"

#include <c10/core/ScalarType.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <tuple>

#include "ddpm/checkpoint/safetensors_json.h"
#include "ddpm/checkpoint/safetensors_types.h"
#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxRank = 64;  // of LibTorch's operators

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return nlohmann::json(shape).dump();
}

/// Zeros in a shape don't excuse the rest of it: strides are products of the other sizes.
std::uint64_t size_bytes(const TensorEntry& tensor, const std::string& file) {
  auto size = static_cast<std::int64_t>(c10::elementSize(tensor.dtype));
  bool is_empty = false;
  for (const std::int64_t dim : tensor.shape) {
    is_empty = is_empty || dim == 0;
    check_state(!__builtin_mul_overflow(size, std::max<std::int64_t>(dim, 1), &size),
                "[read_safetensors] tensor '", tensor.name, "' in '", file,
                "': expected a size under 2^63 bytes, got shape ", shape_text(tensor.shape));
  }
  return is_empty ? 0 : static_cast<std::uint64_t>(size);
}

std::string_view header_text(std::span<const std::uint8_t> file, const std::string& name) {
  check_state(file.size() >= kLengthBytes, "[read_safetensors] size of '", name,
              "': expected at least 8 bytes, got ", file.size());
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  check_state(length <= kMaxHeaderBytes, "[read_safetensors] header of '", name,
              "': expected at most ", kMaxHeaderBytes, " bytes, got ", length);
  check_state(length <= file.size() - kLengthBytes, "[read_safetensors] header of '", name,
              "': expected ", length, " bytes as its length says, got a file of ", file.size());
  const auto bytes = file.subspan(kLengthBytes, length);
  check_state(!bytes.empty() && bytes.front() == '{', "[read_safetensors] header of '", name,
              "': expected it to begin with '{', got ",
              bytes.empty() ? "none" : c10::str("byte ", int{bytes.front()}));
  const auto* zero = std::find(bytes.data(), bytes.data() + bytes.size(), 0);
  check_state(zero == bytes.data() + bytes.size(), "[read_safetensors] header of '", name,
              "': expected no zero byte, got one at its byte ", zero - bytes.data());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Tensors tile the buffer: none shares a byte, and no byte is without tensor.
void check_offsets(const std::vector<TensorEntry>& tensors, std::uint64_t buffer_bytes,
                   const std::string& file) {
  std::uint64_t previous_end = 0;
  for (const auto& tensor : tensors) {
    const std::string subject = "tensor '" + tensor.name + "' in '" + file + "'";
    check_state(tensor.shape.size() <= kMaxRank, "[read_safetensors] ", subject,
                ": expected at most ", kMaxRank, " dimensions, got ", tensor.shape.size());
    check_state(tensor.begin <= tensor.end && tensor.end <= buffer_bytes, "[read_safetensors] ",
                subject, ": expected offsets in order and at most ", buffer_bytes,
                ", the bytes behind the header, got [", tensor.begin, ", ", tensor.end, "]");
    const std::uint64_t expected_bytes = size_bytes(tensor, file);
    check_state(tensor.end - tensor.begin == expected_bytes, "[read_safetensors] ", subject,
                ": expected ", expected_bytes, " bytes for ", c10::toString(tensor.dtype), " ",
                shape_text(tensor.shape), ", got ", tensor.end - tensor.begin);
    check_state(tensor.begin == previous_end, "[read_safetensors] ", subject, ": expected offset ",
                previous_end, ", where the tensor before it ends, got ", tensor.begin,
                tensor.begin < previous_end ? " (overlap)" : " (hole)");
    previous_end = tensor.end;
  }
  check_state(previous_end == buffer_bytes, "[read_safetensors] size of '", file, "': expected ",
              previous_end, " bytes behind the header, as its tensors take, got ", buffer_bytes);
}

std::string quoted(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error&) {
    throw std::invalid_argument(
        c10::str("[write_safetensors] names and metadata: expected UTF-8, got '", text, "'"));
  }
}

std::string entry_json(const TensorEntry& tensor) {
  return c10::str(quoted(tensor.name), R"(:{"dtype":")",
                  safetensors_type_name(tensor.dtype, tensor.name), R"(","shape":)",
                  shape_text(tensor.shape), R"(,"data_offsets":[)", tensor.begin, ",", tensor.end,
                  "]}");
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::uint8_t> file,
                                           const std::string& name) {
  const std::string_view text = header_text(file, name);
  SafetensorsHeader header;
  header.data_start = kLengthBytes + text.size();
  SafetensorsJsonReader reader(header, name);
  nlohmann::json::sax_parse(text, &reader);
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  check_offsets(header.tensors, file.size() - header.data_start, name);
  return header;
}

std::string format_safetensors_header(const std::vector<TensorEntry>& tensors,
                                      const std::map<std::string, std::string>& metadata) {
  std::string json;
  for (const auto& [key, value] : metadata) {
    json += c10::str(json.empty() ? "" : ",", quoted(key), ":", quoted(value));
  }
  if (!metadata.empty()) json = c10::str(R"("__metadata__":{)", json, "}");
  for (const auto& tensor : tensors) json += c10::str(json.empty() ? "" : ",", entry_json(tensor));
  json = c10::str("{", json, "}");
  json.append((kLengthBytes - json.size() % kLengthBytes) % kLengthBytes, ' ');
  check_arg(json.size() <= kMaxHeaderBytes, "[write_safetensors] header: expected at most ",
            kMaxHeaderBytes, " bytes, got ", json.size());
  const std::uint64_t length = json.size();
  std::string bytes(kLengthBytes, '\0');
  std::memcpy(bytes.data(), &length, kLengthBytes);
  return bytes + json;
}

}  // namespace ddpm
