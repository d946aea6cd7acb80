#include "ddpm/checkpoint/replace_folder.h"

#include <cerrno>
#include <fcntl.h>
#include <stdio.h>
#include <string>
#include <system_error>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

RenameCalls system_rename_calls() {
  return {.exchange =
              [](const fs::path& from, const fs::path& to) {
                const int status =
                    renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE);
                return status == 0 ? 0 : errno;
              },
          .rename =
              [](const fs::path& from, const fs::path& to) {
                return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
              }};
}

fs::path replace_folder(const fs::path& from, const fs::path& to, const fs::path& aside,
                        const RenameCalls& calls) {
  const int exchanged = calls.exchange(from, to);
  if (exchanged == 0) return from;
  const bool unsupported = exchanged == EINVAL || exchanged == ENOSYS;
  check_state(unsupported, "[replace_folder] can't replace '", to.string(),
              "': ", reason(exchanged));
  const int moved = calls.rename(to, aside);
  check_state(moved == 0, "[replace_folder] can't rename '", to.string(), "' to '", aside.string(),
              "': ", reason(moved));
  const int replaced = calls.rename(from, to);
  if (replaced == 0) return aside;
  const int restored = calls.rename(aside, to);
  check_state(false, "[replace_folder] can't rename '", from.string(), "' to '", to.string(),
              "': ", reason(replaced),
              restored == 0 ? std::string()
                            : "; the old one is '" + aside.string() + "': " + reason(restored));
  return aside;
}

}  // namespace ddpm
