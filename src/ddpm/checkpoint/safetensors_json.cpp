#include "ddpm/checkpoint/safetensors_json.h"

#include <limits>
#include <stdexcept>

#include "ddpm/checkpoint/safetensors_types.h"
#include "ddpm/core/check.h"

namespace ddpm {

std::string SafetensorsJsonReader::where() const {
  switch (place_) {
    case Place::kOutside:
      return "the header";
    case Place::kTop:
      return name_.empty() ? "the header" : "'" + name_ + "'";
    case Place::kMetadata:
      return "__metadata__ '" + key_ + "'";
    case Place::kTensor:
    case Place::kNumbers:
      return "tensor '" + name_ + "'" + (key_.empty() ? "" : " " + key_);
  }
  throw std::logic_error("[SafetensorsJsonReader] not a Place");
}

void SafetensorsJsonReader::unexpected(const std::string& got) const {
  std::string expected;
  switch (place_) {
    case Place::kOutside:
    case Place::kTop:
      expected = "an object";
      break;
    case Place::kMetadata:
      expected = "a string";
      break;
    case Place::kTensor:
      expected = key_ == "dtype" ? "a string" : "a list of whole numbers";
      break;
    case Place::kNumbers:
      expected = "whole numbers from 0 to 2^63 - 1";
      break;
  }
  throw std::runtime_error(c10::str("[read_safetensors] ", where(), " in '", file_, "': expected ",
                                    expected, ", got ", got));
}

void SafetensorsJsonReader::check_new_key(bool is_new, const std::string& value) const {
  check_state(is_new, "[read_safetensors] keys of '", file_, "': expected each once, got '", value,
              "' twice in ",
              place_ == Place::kTop
                  ? "the header"
                  : (place_ == Place::kTensor ? "tensor '" + name_ + "'" : name_));
}

bool SafetensorsJsonReader::null() { unexpected("null"); }
bool SafetensorsJsonReader::boolean(bool value) { unexpected(value ? "true" : "false"); }
bool SafetensorsJsonReader::number_integer(std::int64_t value) {
  unexpected(std::to_string(value));
}
bool SafetensorsJsonReader::number_float(double /*value*/, const std::string& text) {
  unexpected(text);
}
bool SafetensorsJsonReader::binary(nlohmann::json::binary_t& /*value*/) {
  unexpected("binary data");
}

bool SafetensorsJsonReader::number_unsigned(std::uint64_t value) {
  constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max();
  if (place_ != Place::kNumbers || value > largest) unexpected(std::to_string(value));
  numbers_.push_back(static_cast<std::int64_t>(value));
  return true;
}

bool SafetensorsJsonReader::string(std::string& value) {
  if (place_ == Place::kMetadata) {
    header_.metadata[key_] = value;
  } else if (place_ == Place::kTensor && key_ == "dtype") {
    tensor_.dtype = safetensors_type(value, name_, file_);
  } else {
    unexpected("the string '" + value + "'");
  }
  return true;
}

bool SafetensorsJsonReader::start_object(std::size_t /*size*/) {
  if (place_ == Place::kOutside) {
    place_ = Place::kTop;
    return true;
  }
  if (place_ != Place::kTop) unexpected("an object");
  place_ = name_ == "__metadata__" ? Place::kMetadata : Place::kTensor;
  key_.clear();
  keys_.clear();
  tensor_ = {.name = name_, .dtype = at::kFloat, .shape = {}, .begin = 0, .end = 0};
  return true;
}

bool SafetensorsJsonReader::key(std::string& value) {
  if (place_ == Place::kTop) {
    check_new_key(names_.insert(value).second, value);
    name_ = value;
    return true;
  }
  check_new_key(keys_.insert(value).second, value);
  check_state(
      place_ == Place::kMetadata || value == "dtype" || value == "shape" || value == "data_offsets",
      "[read_safetensors] tensor '", name_, "' in '", file_,
      "': expected dtype, shape and data_offsets, got the key '", value, "'");
  key_ = value;
  return true;
}

bool SafetensorsJsonReader::end_object() {
  if (place_ == Place::kTensor) {
    for (const char* needed : {"dtype", "shape", "data_offsets"}) {
      check_state(keys_.contains(needed), "[read_safetensors] tensor '", name_, "' in '", file_,
                  "': expected dtype, shape and data_offsets, got no ", needed);
    }
    header_.tensors.push_back(std::move(tensor_));
  }
  place_ = place_ == Place::kTop ? Place::kOutside : Place::kTop;
  return true;
}

bool SafetensorsJsonReader::start_array(std::size_t /*size*/) {
  if (place_ != Place::kTensor || key_ == "dtype") unexpected("a list");
  place_ = Place::kNumbers;
  numbers_.clear();
  return true;
}

bool SafetensorsJsonReader::end_array() {
  place_ = Place::kTensor;
  if (key_ == "shape") {
    tensor_.shape = std::move(numbers_);
    return true;
  }
  check_state(numbers_.size() == 2, "[read_safetensors] tensor '", name_, "' data_offsets in '",
              file_, "': expected 2 numbers, got ", numbers_.size());
  tensor_.begin = static_cast<std::uint64_t>(numbers_[0]);
  tensor_.end = static_cast<std::uint64_t>(numbers_[1]);
  return true;
}

bool SafetensorsJsonReader::parse_error(std::size_t position, const std::string& /*token*/,
                                        const nlohmann::json::exception& /*error*/) {
  throw std::runtime_error(
      c10::str("[read_safetensors] header of '", file_,
               "': expected one JSON object in UTF-8, got a syntax error at its byte ", position));
}

}  // namespace ddpm
