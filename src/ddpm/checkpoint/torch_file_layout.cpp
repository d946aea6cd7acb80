#include "ddpm/checkpoint/torch_file_layout.h"

#include <cstring>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "ddpm/checkpoint/pickle_reader.h"
#include "ddpm/core/check.h"
#include "ddpm/core/one_line.h"
#include "ddpm/core/zip_archive.h"

namespace ddpm {
namespace {

using Bytes = std::span<const std::uint8_t>;

// What values of the pickles may take: a state dict of tiny tensors needs about 5 times its file.
constexpr std::uint64_t kBudgetFloor = std::uint64_t{16} << 20;
constexpr std::uint64_t kBudgetFactor = 8;

// 0x1950a86a20f9469cfc6c, as the pickle of the first layout holds it [torch/serialization.py].
constexpr std::string_view kLegacyMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr std::uint64_t kLegacyProtocol = 1001;

template <typename... Parts>
void check_layout(bool ok, const std::string& name, const Parts&... parts) {
  check_state(ok, "[read_torch_file] '", name, "' ", parts...);
}

TorchObjects make_objects(Bytes source, Bytes file, const std::string& name) {
  return TorchObjects(PickleHeap(source, name, kBudgetFloor + kBudgetFactor * file.size()));
}

/// Bytes of the storage; how many there must be is checked without overflow.
void check_storage_size(const TorchStorage& storage, std::uint64_t size_bytes,
                        const std::string& name) {
  const std::uint64_t element_bytes = c10::elementSize(storage.dtype);
  const bool fits = size_bytes % element_bytes == 0 && size_bytes / element_bytes == storage.numel;
  check_layout(fits, name, "storage '", one_line(storage.key), "': expected ", storage.numel,
               " of ", c10::toString(storage.dtype), ", got ", size_bytes, " bytes");
}

// ---- The zip archive

constexpr std::string_view kObjectName = "/data.pkl";

/// The folder that holds data.pkl: its name is the saver's choice.
std::string top_folder(const ZipDirectory& directory, const std::string& name) {
  std::string top;
  for (const auto& [entry_name, entry] : directory.entries) {
    if (!entry_name.ends_with(kObjectName)) continue;
    const auto folder = entry_name.substr(0, entry_name.size() - kObjectName.size());
    check_layout(top.empty(), name, "zip archive: expected one data.pkl, got several");
    top = folder;
  }
  check_layout(!top.empty(), name,
               "zip archive: expected a data.pkl, as torch.save writes it, got none");
  return top;
}

TorchFileLayout read_zip_layout(Bytes file, const std::string& name) {
  auto directory = std::make_shared<ZipDirectory>(read_zip_directory(file, name));
  const std::string top = top_folder(*directory, name);
  const std::string order_name = top + "/byteorder";
  if (directory->entries.contains(order_name)) {
    const Bytes order = zip_entry_bytes(file, *directory, order_name, name);
    const std::string text(order.begin(), order.end());
    check_layout(text == "little", name, "byteorder: expected little, got '", one_line(text), "'");
  }
  const Bytes pickle = zip_entry_bytes(file, *directory, top + std::string(kObjectName), name);
  TorchFileLayout layout{.objects = make_objects(pickle, file, name), .storage_bytes = {}};
  const PickleResult result = read_pickle(layout.objects, 0);
  check_layout(result.end == pickle.size(), name, "data.pkl: expected one pickle, got ",
               pickle.size() - result.end, " bytes behind it");
  layout.object = result.value;
  layout.storage_bytes = [file, directory, top, name](const TorchStorage& storage) {
    const Bytes bytes = zip_entry_bytes(file, *directory, top + "/data/" + storage.key, name);
    check_storage_size(storage, bytes.size(), name);
    return bytes;
  };
  return layout;
}

// ---- Pickles and storages one behind the other

/// The value of a key of a dict; none if it has no such key.
PickleValue value_of_key(const TorchObjects& objects, const PickleValue& dict,
                         std::string_view key) {
  if (dict.kind != PickleKind::kDict) return {};
  const auto& items = objects.heap().items(dict);
  for (std::size_t i = 0; i < items.size(); i += 2) {
    if (items[i].kind == PickleKind::kText && objects.heap().text(items[i]) == key) {
      return items[i + 1];
    }
  }
  return {};
}

/// Reads the three pickles in front of the object's; returns where that one begins.
std::size_t read_legacy_head(TorchObjects& objects, const std::string& name) {
  const PickleResult magic = read_pickle(objects, 0);
  const bool is_legacy =
      magic.value.kind == PickleKind::kLong && objects.heap().text(magic.value) == kLegacyMagic;
  check_layout(is_legacy, name, "layout: expected a file of torch.save, got another pickle");
  const PickleResult protocol = read_pickle(objects, magic.end);
  check_layout(protocol.value.kind == PickleKind::kInt && protocol.value.number == kLegacyProtocol,
               name, "protocol: expected ", kLegacyProtocol, ", got another");
  const PickleResult system = read_pickle(objects, protocol.end);
  const PickleValue is_little = value_of_key(objects, system.value, "little_endian");
  check_layout(is_little.kind == PickleKind::kBool && is_little.number == 1, name,
               "byte order: expected little_endian to be true, got something else");
  return system.end;
}

/// Takes the storages, each behind its number of elements, in the order of the list of keys.
std::map<std::string, Bytes> take_storages(const TorchObjects& objects, const PickleValue& keys,
                                           Bytes rest, const std::string& name) {
  check_layout(keys.kind == PickleKind::kList, name, "keys of the storages: expected a list, got ",
               pickle_kind_name(keys.kind));
  std::map<std::string_view, const TorchStorage*> by_key;
  for (const TorchStorage& storage : objects.storages()) by_key.emplace(storage.key, &storage);
  std::map<std::string, Bytes> result;
  for (const PickleValue& item : objects.heap().items(keys)) {
    const bool is_text = item.kind == PickleKind::kText;
    const std::string key(is_text ? objects.heap().text(item) : std::string_view());
    const auto found = by_key.find(key);
    check_layout(is_text && found != by_key.end(), name,
                 "keys of the storages: expected those that tensors use, got '", one_line(key),
                 "'");
    const TorchStorage& storage = *found->second;
    std::uint64_t numel = 0;
    check_layout(rest.size() >= sizeof(numel), name, "storage '", one_line(key),
                 "': expected its size, got the end: cut short?");
    std::memcpy(&numel, rest.data(), sizeof(numel));
    rest = rest.subspan(sizeof(numel));
    const std::uint64_t element_bytes = c10::elementSize(storage.dtype);
    check_layout(numel == storage.numel && numel <= rest.size() / element_bytes, name, "storage '",
                 one_line(key), "': expected ", storage.numel, " elements of ", element_bytes,
                 " bytes, got ", numel, " and ", rest.size(), " bytes: cut short?");
    check_layout(result.emplace(key, rest.first(numel * element_bytes)).second, name,
                 "keys of the storages: expected each once, got '", one_line(key), "' twice");
    rest = rest.subspan(numel * element_bytes);
  }
  check_layout(rest.empty(), name, "end of the file: expected the last storage, got ", rest.size(),
               " bytes more");
  return result;
}

TorchFileLayout read_legacy_layout(Bytes file, const std::string& name) {
  TorchFileLayout layout{.objects = make_objects(file, file, name), .storage_bytes = {}};
  const std::size_t start = read_legacy_head(layout.objects, name);
  const PickleResult object = read_pickle(layout.objects, start);
  const PickleResult keys = read_pickle(layout.objects, object.end);
  layout.object = object.value;
  auto storages = take_storages(layout.objects, keys.value, file.subspan(keys.end), name);
  layout.storage_bytes = [storages = std::move(storages), name](const TorchStorage& storage) {
    const auto found = storages.find(storage.key);
    check_layout(found != storages.end(), name, "storage: expected '", one_line(storage.key),
                 "', got none");
    return found->second;
  };
  return layout;
}

}  // namespace

TorchFileLayout read_torch_layout(Bytes file, const std::string& name) {
  constexpr std::uint8_t kPickleProtocolOpcode = 0x80;
  if (is_zip(file)) return read_zip_layout(file, name);
  check_layout(!file.empty() && file.front() == kPickleProtocolOpcode, name,
               "layout: expected a file of torch.save (a zip archive or pickles), got other bytes");
  return read_legacy_layout(file, name);
}

}  // namespace ddpm
