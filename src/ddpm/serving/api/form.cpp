#include "ddpm/serving/api/form.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <random>
#include <stdexcept>

#include "ddpm/core/one_line.h"
#include "ddpm/serving/http/http_multipart.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr size_t kMaxFieldBytes = 4096;

/// A number where the text is one as a whole; else the text, which then has the wrong type.
template <typename Number>
json number_of_text(const std::string& text) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (text.empty() || error != std::errc() || rest != end) return text;
  return number;
}

json element_of(const Field& field, const std::string& text) {
  switch (field.type) {
    case FieldType::kBool:
      if (text == "true" || text == "false") return text == "true";
      return text;
    case FieldType::kInteger:
    case FieldType::kUnsigned:
      return number_of_text<int64_t>(text);
    case FieldType::kNumber:
      return number_of_text<double>(text);
    case FieldType::kSection:
    case FieldType::kText:
    case FieldType::kWord:
      return text;
  }
  throw std::logic_error("[element_of] not a FieldType");
}

json value_of(const Field& field, const std::string& text) {
  if (!field.is_list) return element_of(field, text);
  json list = json::array();
  if (text.empty()) return list;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    list.push_back(element_of(field, text.substr(at, end - at)));
    at = end + 1;
  }
  return list;
}

/// {"sampler": {"steps": value}} of "sampler.steps".
json nested(const std::string& key, json value) {
  for (size_t end = key.size(); end != std::string::npos;) {
    const size_t dot = end == 0 ? std::string::npos : key.rfind('.', end - 1);
    const size_t begin = dot == std::string::npos ? 0 : dot + 1;
    value = json{{key.substr(begin, end - begin), std::move(value)}};
    end = dot;
  }
  return value;
}

}  // namespace

std::string Form::take(const std::string& key) {
  const auto found = fields.find(key);
  if (found == fields.end()) return {};
  std::string text = std::move(found->second);
  fields.erase(found);
  return text;
}

Form parse_form(const HttpRequest& request) {
  const std::string* const type = find_header(request.headers, "Content-Type");
  Form form;
  for (const MultipartPart& part : parse_multipart(type == nullptr ? "" : *type, request.body)) {
    if (part.filename) {
      form.files.push_back({part.name, part.body});
    } else if (part.body.size() > kMaxFieldBytes) {
      throw HttpError(413, "too_large",
                      "[" + part.name + "] a form's field: expected at most 4096 bytes, got " +
                          std::to_string(part.body.size()) + ".",
                      part.name);
    } else {
      form.fields[part.name] = part.body;
    }
  }
  return form;
}

json take_members(Form& form, const std::vector<Field>& fields) {
  json members = json::object();
  for (const Field& field : fields) {
    const bool is_value = field.type != FieldType::kSection;
    if (!is_value || !form.fields.contains(field.key)) continue;
    members.merge_patch(nested(field.key, value_of(field, form.take(field.key))));
  }
  return members;
}

void assign_form(const std::vector<Field>& fields, const Form& form) {
  for (const auto& [key, text] : form.fields) {
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&, &name = key](const Field& f) { return f.key == name; });
    json value = field == fields.end() ? json(text) : value_of(*field, text);
    try {
      assign_fields(
          fields, {.values = nested(key, std::move(value)), .name = key, .origins = {{key, key}}});
    } catch (const std::invalid_argument& error) {
      refuse_form(key, error.what());
    }
  }
}

uint64_t form_seed(const std::string& text) {
  if (text.empty()) return std::random_device()();
  const json seed = number_of_text<uint64_t>(text);
  if (!seed.is_number_unsigned()) {
    refuse_form("seed",
                "[seed] expected an integer from 0 to 2^64 - 1, got '" + one_line(text) + "'");
  }
  return seed.get<uint64_t>();
}

void refuse_form(const std::string& field, const std::string& message) {
  throw HttpError(422, "invalid_request", message, field);
}

}  // namespace ddpm
