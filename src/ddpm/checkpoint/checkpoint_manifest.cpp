#include "ddpm/checkpoint/checkpoint_manifest.h"

#include <nlohmann/json.hpp>

#include <system_error>

#include "ddpm/checkpoint/json_file.h"
#include "ddpm/core/check.h"
#include "ddpm/core/sha256.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "ddpm-checkpoint";
constexpr std::int64_t kVersion = 1;

std::int64_t whole_number(const nlohmann::json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  check_state(found != object.end() && found->is_number_integer() && *found >= 0,
              "[read_checkpoint] ", key, " in '", where, "': expected a whole number, got ",
              found == object.end() ? "none" : found->dump());
  return found->get<std::int64_t>();
}

std::string text(const nlohmann::json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  check_state(found != object.end() && found->is_string(), "[read_checkpoint] ", key, " in '",
              where, "': expected a string, got ", found == object.end() ? "none" : found->dump());
  return found->get<std::string>();
}

CheckpointManifest parse_manifest(const nlohmann::json& json, const std::string& where) {
  check_state(json.is_object() && json.contains("files") && json["files"].is_object(),
              "[read_checkpoint] '", where, "': expected an object with files");
  const std::string format = text(json, "format", where);
  check_state(format == kFormat, "[read_checkpoint] format in '", where, "': expected ", kFormat,
              ", got ", format);
  const std::int64_t version = whole_number(json, "version", where);
  check_state(version == kVersion, "[read_checkpoint] version in '", where, "': expected ",
              kVersion, ", got ", version);
  CheckpointManifest manifest{.step = whole_number(json, "step", where), .files = {}};
  for (const auto& [name, file] : json["files"].items()) {
    check_state(fs::path(name).filename() == name && file.is_object(), "[read_checkpoint] '", where,
                "': expected plain file names with an object each, got '", name, "'");
    const auto size = static_cast<std::uint64_t>(whole_number(file, "size", where));
    manifest.files[name] = {.size_bytes = size, .sha256 = text(file, "sha256", where)};
  }
  return manifest;
}

void verify_file(const fs::path& path, const ManifestFile& expected) {
  std::error_code error;
  const std::uint64_t size_bytes = fs::file_size(path, error);
  check_state(!error, "[read_checkpoint] '", path.string(), "': expected a file of ",
              expected.size_bytes, " bytes, got ", error.message());
  check_state(size_bytes == expected.size_bytes, "[read_checkpoint] size of '", path.string(),
              "': expected ", expected.size_bytes, " bytes, got ", size_bytes);
  const std::string sha256 = sha256_file(path);
  check_state(sha256 == expected.sha256, "[read_checkpoint] SHA-256 of '", path.string(),
              "': expected ", expected.sha256, ", got ", sha256);
}

}  // namespace

void write_manifest(const fs::path& folder, std::int64_t step) {
  nlohmann::json files = nlohmann::json::object();
  for (const auto& entry : fs::directory_iterator(folder)) {
    files[entry.path().filename().string()] = {{"size", entry.file_size()},
                                               {"sha256", sha256_file(entry.path())}};
  }
  write_json_file(folder / kManifestName,
                  {{"format", kFormat}, {"version", kVersion}, {"step", step}, {"files", files}});
}

CheckpointManifest verify_manifest(const fs::path& folder) {
  const fs::path path = folder / kManifestName;
  CheckpointManifest manifest = parse_manifest(read_json_file(path), path.string());
  for (const auto& [name, file] : manifest.files) verify_file(folder / name, file);
  return manifest;
}

}  // namespace ddpm
