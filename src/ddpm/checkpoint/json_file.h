#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>

namespace ddpm {

/// @param where the file that the text came from, for errors.
/// @throws std::runtime_error, naming the file, if it is not one JSON value in which every object
///         has each key once.
nlohmann::json parse_json(const std::string& text, const std::string& where);

/// parse_json of a file.
///
/// @throws std::runtime_error, naming the file, if it can't be read, or as parse_json does.
nlohmann::json read_json_file(const std::filesystem::path& path);

/// Writes indented JSON: all of it, or nothing (temporary name, fsync, rename).
///
/// @throws std::invalid_argument, naming the file, if a string is not UTF-8.
/// @throws std::runtime_error, naming the file, if it can't be written.
void write_json_file(const std::filesystem::path& path, const nlohmann::json& json);

}  // namespace ddpm
