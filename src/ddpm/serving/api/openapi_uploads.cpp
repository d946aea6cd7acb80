#include <utility>

#include "ddpm/serving/api/edit_fields.h"
#include "ddpm/serving/api/forward_fields.h"
#include "ddpm/serving/api/openapi_parts.h"

namespace ddpm::openapi {
namespace {

json file_schema() {
  return {{"type", "string"}, {"format", "binary"}, {"description", "a PNG or JPEG"}};
}

/// Text with commas, since a form has no lists; empty text is the empty one.
json list_schema(const Field& field) {
  std::string one = "[^,]*";
  if (field.type == FieldType::kInteger) one = "-?[0-9]{1,9}";
  if (field.type == FieldType::kUnsigned) one = "[0-9]{1,18}";
  if (field.type == FieldType::kNumber) one = "-?[0-9]{1,9}([.][0-9]{1,9})?";
  return {{"type", "string"}, {"pattern", "^(" + one + "(," + one + ")*)?$"}};
}

void add_fields(json& properties, const std::vector<Field>& fields) {
  for (const Field& field : fields) {
    if (field.type == FieldType::kSection) continue;
    json schema = field.is_list ? list_schema(field) : element_schema(field);
    if (!field.help.empty()) schema["description"] = field.help;
    properties[field.key] = std::move(schema);
  }
}

json form_schema(json properties, json required) {
  json schema = object_schema(std::move(properties), /*is_closed=*/true);
  schema["required"] = std::move(required);
  return schema;
}

json edit_form(EditKind kind) {
  SharedEditFields shared;
  EditFields own{.kind = kind};
  json properties = json::object();
  add_fields(properties, list_shared_fields(shared, kind));
  add_fields(properties, list_fields(own));
  if (restores(kind)) properties["resamples"]["maximum"] = kMaxEditResamples;
  if (kind == EditKind::kImg2img) properties["strength"]["exclusiveMinimum"] = 0;
  if (is_path(kind)) {  // two, or none and seeds
    json files = list_of(file_schema());
    files["minItems"] = files["maxItems"] = 2;
    properties["image"] = std::move(files);
    return form_schema(std::move(properties), json::array());
  }
  properties["seed"] = unsigned_schema("drawn where it is absent");
  properties["image"] = file_schema();
  if (kind != EditKind::kInpaint) return form_schema(std::move(properties), {"image"});
  properties["mask"] = file_schema();
  return form_schema(std::move(properties), {"image", "mask"});
}

json forward_form() {
  ForwardFields fields;
  json properties = json::object();
  add_fields(properties, list_fields(fields));
  json schedules = json::array();
  for (const json& word : properties["schedule"]["enum"]) {
    if (word != enum_word(ScheduleKind::kCustom)) schedules.push_back(word);
  }
  properties["schedule"]["enum"] = std::move(schedules);
  properties["seed"] = unsigned_schema("of the noise; drawn where it is absent");
  properties["image"] = file_schema();
  return form_schema(std::move(properties), {"image"});
}

json forward_answer() {
  const json frame =
      object_schema({{"t", integer_schema(-1)},
                     {"alpha_bar", number_schema()},
                     {"snr_db", one_of_types("number")},
                     {"shown_limit", number_schema()},
                     {"image", pattern_schema("^data:image/png;base64,", "the frame's PNG")},
                     {"histogram", list_of(integer_schema())}});
  const json histogram = object_schema(
      {{"bins", integer_schema(1)}, {"min", number_schema()}, {"max", number_schema()}});
  return object_schema({{"schedule", text_schema()},
                        {"num_timesteps", integer_schema(1)},
                        {"seed", unsigned_schema("of the noise")},
                        {"size", integer_schema(1)},
                        {"channels", integer_schema(1)},
                        {"histogram", histogram},
                        {"frames", list_of(frame)}});
}

json edited_images() {
  const json image = object_schema({{"index", integer_schema()},
                                    {"media_type", text_schema()},
                                    {"b64", text_schema()},
                                    {"width", integer_schema(1)},
                                    {"height", integer_schema(1)}});
  json schema = object_schema({{"images", list_of(image)}});
  schema["properties"]["seed"] = unsigned_schema("of the request; a path has none");
  return schema;
}

constexpr std::string_view kEditsPath = "/v1/edits/";

std::string edit_form_name(std::string_view kind) {
  std::string name = std::string(kind) + "Form";
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  return name;
}

}  // namespace

std::string form_schema_name(std::string_view pattern) {
  if (!pattern.starts_with(kEditsPath)) return "ForwardForm";
  return edit_form_name(pattern.substr(kEditsPath.size()));
}

json upload_schemas() {
  json schemas{{"ForwardForm", forward_form()},
               {"Forward", forward_answer()},
               {"EditedImages", edited_images()}};
  for (std::size_t i = 0; i < EnumNames<EditKind>::names.size(); ++i) {
    const auto kind = static_cast<EditKind>(i);
    schemas[edit_form_name(enum_word(kind))] = edit_form(kind);
  }
  return schemas;
}

}  // namespace ddpm::openapi
