#include "ddpm/serving/api/generation_fields.h"

#include <cmath>
#include <stdexcept>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

const char* schema_type(const Field& field) {
  if (field.is_list) return "list";
  switch (field.type) {
    case FieldType::kBool:
      return "boolean";
    case FieldType::kInteger:
    case FieldType::kUnsigned:
      return "integer";
    case FieldType::kNumber:
      return "number";
    case FieldType::kText:
      return "text";
    case FieldType::kWord:
      return "enum";
    case FieldType::kSection:
      break;
  }
  throw std::logic_error("[schema_type] a section is no option");
}

/// Integers as integers: 64 and not 64.0.
nlohmann::json bound(const Field& field, double value) {
  if (!std::isfinite(value)) return nullptr;
  if (field.type == FieldType::kInteger) return static_cast<int64_t>(value);
  return value;
}

}  // namespace

std::vector<Field> list_generation_fields(GenerationFields& fields,
                                          const GenerationLimits& limits) {
  std::vector<Field> list = list_fields(fields);
  for (Field& field : list) {
    if (field.key == "num_images") field.range.max = static_cast<double>(limits.max_images);
    if (field.key == "trace") field.range.max = static_cast<double>(limits.max_trace_frames);
    if (field.key == "deadline_ms") field.range.max = static_cast<double>(limits.max_deadline_ms);
  }
  return list;
}

int64_t most_result_bytes(const GenerationFields& fields, const std::vector<int64_t>& image_shape) {
  constexpr int64_t kHeadBytes = 1024;
  constexpr int64_t kPicturesOfFrame = 3;
  int64_t picture_bytes = 1;
  for (const int64_t size : image_shape) picture_bytes *= size;
  picture_bytes += kHeadBytes;
  return (fields.num_images + kPicturesOfFrame * fields.trace) * picture_bytes;
}

void check_result_bytes(const GenerationFields& fields, const std::vector<int64_t>& image_shape,
                        const GenerationLimits& limits) {
  const int64_t most_bytes = most_result_bytes(fields, image_shape);
  check_arg(most_bytes <= limits.max_result_bytes,
            "[num_images] expected images and trace of at most ", limits.max_result_bytes,
            " bytes together, got as many as need up to ", most_bytes);
}

nlohmann::json field_schema(const Field& field) {
  nlohmann::json schema{{"name", field.key},
                        {"type", schema_type(field)},
                        {"default", field.get()},
                        {"min", bound(field, field.range.min)},
                        {"max", bound(field, field.range.max)},
                        {"help", field.help}};
  if (!field.words.empty()) schema["values"] = field.words;
  return schema;
}

}  // namespace ddpm
