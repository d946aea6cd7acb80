#include "report.h"

#include <cstdio>
#include <string>

namespace ddpm::app {
namespace {

void print_value(const std::string& name, const nlohmann::ordered_json& value,
                 const std::string& indent) {
  if (name == "table") {
    for (const auto& row : value) {
      std::printf("  %-56s %-18s %-8s %10lld std %.4g\n", row["name"].get<std::string>().c_str(),
                  row["shape"].dump().c_str(), row["dtype"].get<std::string>().c_str(),
                  row["elements"].get<long long>(), row["std"].get<double>());
    }
    return;
  }
  if (!value.is_object()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    std::printf("%s%-26s %s\n", indent.c_str(), name.c_str(), text.c_str());
    return;
  }
  std::printf("%s%s\n", indent.c_str(), name.c_str());
  for (const auto& [key, inner] : value.items()) print_value(key, inner, indent + "  ");
}

}  // namespace

void print_report(const nlohmann::ordered_json& report) {
  for (const auto& [name, value] : report.items()) print_value(name, value, "");
}

}  // namespace ddpm::app
