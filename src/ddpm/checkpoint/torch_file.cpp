#include "ddpm/checkpoint/torch_file.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "ddpm/checkpoint/torch_file_layout.h"
#include "ddpm/checkpoint/torch_file_tensors.h"
#include "ddpm/config/nearest_name.h"
#include "ddpm/core/check.h"
#include "ddpm/core/file.h"
#include "ddpm/core/one_line.h"

namespace ddpm {
namespace {

constexpr int kDeepestStateDict = 4;
constexpr std::size_t kShownKeys = 8;
// Hostile files repeat long names at no cost to them.
constexpr std::size_t kMostStateDicts = 64;
constexpr std::size_t kLongestKey = 256;

/// A dict of tensors, and how to reach it from the object.
struct FoundStateDict {
  std::string key;
  PickleValue dict;
};

bool is_text(const PickleValue& value) { return value.kind == PickleKind::kText; }

bool is_state_dict(const std::vector<PickleValue>& items) {
  for (std::size_t i = 0; i < items.size(); i += 2) {
    if (!is_text(items[i]) || items[i + 1].kind != PickleKind::kTensor) return false;
  }
  return !items.empty();
}

/// Finds the dicts of tensors in nested dicts. Each dict is looked at once: hostile pickles nest
/// them in circles.
class StateDictFinder {
 public:
  explicit StateDictFinder(const TorchObjects& objects) : heap_(objects.heap()) {}

  std::vector<FoundStateDict> find(const PickleValue& object) {
    visit(object, "", 0);
    return std::move(found_);
  }

 private:
  void visit(const PickleValue& value, const std::string& key, int depth) {
    const bool is_new_dict = value.kind == PickleKind::kDict && depth < kDeepestStateDict &&
                             seen_.insert(value.number).second;
    if (!is_new_dict) return;
    const auto& items = heap_.items(value);
    if (is_state_dict(items)) {
      check_state(found_.size() < kMostStateDicts, "[read_torch_file] '", heap_.name(),
                  "': expected at most ", kMostStateDicts, " state dicts, got more");
      found_.push_back({.key = key, .dict = value});
      return;
    }
    for (std::size_t i = 0; i < items.size(); i += 2) {
      if (!is_text(items[i]) || items[i].size > kLongestKey) continue;
      std::string name = key;
      if (!name.empty()) name += '/';
      name += heap_.text(items[i]);
      visit(items[i + 1], name, depth + 1);
    }
  }

  const PickleHeap& heap_;
  std::set<std::uint64_t> seen_;
  std::vector<FoundStateDict> found_;
};

/// "'a' 'b' 'c'", and whether there are more.
std::string quoted_list(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size() && i < kShownKeys; ++i) {
    text += (i == 0 ? "'" : " '") + one_line(words[i]) + "'";
  }
  if (words.size() > kShownKeys) text += " and more";
  return text;
}

/// What an object is that holds no state dict.
std::string describe_object(const TorchFileLayout& layout) {
  const PickleHeap& heap = layout.objects.heap();
  if (layout.object.kind != PickleKind::kDict) return pickle_kind_name(layout.object.kind);
  const auto& items = heap.items(layout.object);
  if (items.empty()) return "an empty dict";
  bool has_tensor = false;
  std::vector<std::string> others;
  for (std::size_t i = 0; i < items.size(); i += 2) {
    const bool is_named_tensor = is_text(items[i]) && items[i + 1].kind == PickleKind::kTensor;
    has_tensor |= is_named_tensor;
    if (is_named_tensor) continue;
    if (others.size() > kShownKeys) continue;
    others.emplace_back(is_text(items[i]) ? heap.text(items[i]).substr(0, kLongestKey)
                                          : pickle_kind_name(items[i].kind));
  }
  return c10::str(has_tensor ? "tensors beside " : "a dict of ", quoted_list(others));
}

PickleValue choose_state_dict(const TorchFileLayout& layout, const std::string& key) {
  const std::string& name = layout.objects.heap().name();
  const auto found = StateDictFinder(layout.objects).find(layout.object);
  check_arg(!found.empty(), "[read_torch_file] '", name,
            "': expected a state dict, tensors under their names, got ", describe_object(layout));
  std::vector<std::string> keys;
  for (const auto& candidate : found) {
    if (candidate.key == key || (key.empty() && found.size() == 1)) return candidate.dict;
    keys.push_back(candidate.key);
  }
  check_arg(!key.empty(), "[read_torch_file] '", name,
            "': expected a key that says which state dict to take, one of ", quoted_list(keys),
            ", got none");
  check_arg(
      false, "[read_torch_file] '", name, "' key: expected ",
      keys.front().empty() ? "none, the file is one state dict" : "one of " + quoted_list(keys),
      ", got '", one_line(key), "'", suggest_name(key, keys));
  return {};
}

bool is_utf8(const std::string& text) {
  const nlohmann::json json(text);
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore) ==
         json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Takes off what wrappers of networks put in front of every name: DataParallel, torch.compile.
void strip_wrappers(NamedTensors& tensors) {
  constexpr std::array<std::string_view, 2> kPrefixes{"module.", "_orig_mod."};
  for (bool stripped = true; stripped;) {
    stripped = false;
    for (const std::string_view prefix : kPrefixes) {
      const bool all = std::all_of(tensors.begin(), tensors.end(), [&](const auto& tensor) {
        return tensor.first.size() > prefix.size() && tensor.first.starts_with(prefix);
      });
      if (!all) continue;
      for (auto& [name, tensor] : tensors) name.erase(0, prefix.size());
      stripped = true;
    }
  }
}

}  // namespace

NamedTensors parse_torch_file(std::span<const std::uint8_t> bytes, const std::string& name,
                              const std::string& key) {
  const TorchFileLayout layout = read_torch_layout(bytes, name);
  const auto& items = layout.objects.heap().items(choose_state_dict(layout, key));
  TorchTensorCopier copier(layout, bytes.size());
  std::set<std::string_view> names;
  NamedTensors tensors;
  for (std::size_t i = 0; i < items.size(); i += 2) {
    const std::string_view text = layout.objects.heap().text(items[i]);
    const std::string tensor_name(text);
    check_state(is_utf8(tensor_name), "[read_torch_file] '", name,
                "' name of a tensor: expected UTF-8, got other bytes");
    check_state(names.insert(text).second, "[read_torch_file] '", name, "' tensor '",
                one_line(tensor_name), "': expected it once, got it twice");
    tensors.emplace_back(tensor_name, copier.copy(items[i + 1], tensor_name));
  }
  strip_wrappers(tensors);
  return tensors;
}

NamedTensors read_torch_file(const std::filesystem::path& path, const std::string& key) {
  const MappedFile file(path);
  return parse_torch_file(file.bytes(), path.string(), key);
}

}  // namespace ddpm
