#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "ddpm/checkpoint/safetensors_header.h"

namespace ddpm {

/// Reads the JSON of a .safetensors header as it streams by, and stops with std::runtime_error at
/// the first thing that the format does not have: another nesting, key or type, a key that comes
/// twice, a number that is not a whole one from 0 to 2^63 - 1. Only offsets and shapes are left to
/// check. No document is built, so a hostile header costs no more memory than its own size.
class SafetensorsJsonReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  /// @param header where tensors and metadata go; @param file its name in errors.
  SafetensorsJsonReader(SafetensorsHeader& header, std::string file)
      : header_(header), file_(std::move(file)) {}

  bool null() override;
  bool boolean(bool value) override;
  bool number_integer(std::int64_t value) override;
  bool number_unsigned(std::uint64_t value) override;
  bool number_float(double value, const std::string& text) override;
  bool string(std::string& value) override;
  bool binary(nlohmann::json::binary_t& value) override;
  bool start_object(std::size_t size) override;
  bool key(std::string& value) override;
  bool end_object() override;
  bool start_array(std::size_t size) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::json::exception& error) override;

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kNumbers };

  /// "tensor 'a'", "__metadata__" or "the header": where the parser is, for errors.
  std::string where() const;
  [[noreturn]] void unexpected(const std::string& got) const;
  void check_new_key(bool is_new, const std::string& value) const;

  SafetensorsHeader& header_;
  std::string file_;
  Place place_ = Place::kOutside;
  std::string name_;  // of the top-level member
  std::string key_;   // of the member of it
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> keys_;
  TensorEntry tensor_;
  std::vector<std::int64_t> numbers_;
};

}  // namespace ddpm
