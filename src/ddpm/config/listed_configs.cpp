#include "ddpm/config/classifier_config.h"
#include "ddpm/config/field_list.h"
#include "ddpm/config/guidance_config.h"
#include "ddpm/config/run_config.h"
#include "ddpm/config/sample_config.h"

namespace ddpm {

template std::vector<Field> list_fields(ClassifierConfig&, const std::string&);
template std::vector<Field> list_fields(DataConfig&, const std::string&);
template std::vector<Field> list_fields(DiffusionConfig&, const std::string&);
template std::vector<Field> list_fields(GuidanceOptions&, const std::string&);
template std::vector<Field> list_fields(ModelConfig&, const std::string&);
template std::vector<Field> list_fields(RunConfig&, const std::string&);
template std::vector<Field> list_fields(SamplerOptions&, const std::string&);
template std::vector<Field> list_fields(SimpleUnetConfig&, const std::string&);
template std::vector<Field> list_fields(TrainConfig&, const std::string&);
template std::vector<Field> list_fields(UNet2DConfig&, const std::string&);

}  // namespace ddpm
