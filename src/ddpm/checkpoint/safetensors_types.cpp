#include "ddpm/checkpoint/safetensors_types.h"

#include <c10/util/StringUtil.h>

#include <array>
#include <stdexcept>

namespace ddpm {
namespace {

struct TypeName {
  const char* word;
  at::ScalarType dtype;
};

// The order of Python's safetensors: widest first, and what it was added last among equals.
constexpr std::array kTypes{TypeName{"I64", at::kLong},      TypeName{"F64", at::kDouble},
                            TypeName{"F32", at::kFloat},     TypeName{"I32", at::kInt},
                            TypeName{"BF16", at::kBFloat16}, TypeName{"F16", at::kHalf},
                            TypeName{"I16", at::kShort},     TypeName{"I8", at::kChar},
                            TypeName{"U8", at::kByte},       TypeName{"BOOL", at::kBool}};

constexpr const char* kExpected = "expected one of F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL, got ";

}  // namespace

at::ScalarType safetensors_type(const std::string& word, const std::string& tensor,
                                const std::string& file) {
  for (const auto& type : kTypes) {
    if (word == type.word) return type.dtype;
  }
  throw std::runtime_error(c10::str("[read_safetensors] tensor '", tensor, "' dtype in '", file,
                                    "': ", kExpected, "'", word, "'"));
}

int safetensors_type_rank(at::ScalarType dtype, const std::string& tensor) {
  for (std::size_t i = 0; i < kTypes.size(); ++i) {
    if (dtype == kTypes[i].dtype) return static_cast<int>(i);
  }
  throw std::invalid_argument(
      c10::str("[write_safetensors] type of tensor '", tensor, "': ", kExpected, dtype));
}

std::string safetensors_type_name(at::ScalarType dtype, const std::string& tensor) {
  return kTypes[static_cast<std::size_t>(safetensors_type_rank(dtype, tensor))].word;
}

}  // namespace ddpm
