#include <ddpm/data/image_codec.h>
#include <ddpm/data/image_tensor.h>
#include <ddpm/pipeline/pipeline.h>

int main(int argc, char** argv) {
  const ddpm::Pipeline pipeline = ddpm::load_pipeline(argc > 1 ? argv[1] : "demo/run");
  ddpm::SamplerOptions options = ddpm::default_sampler_options(pipeline);
  options.steps = 25;
  const ddpm::Tensor images = ddpm::sample_images(pipeline, options, {.seed = 7, .num_images = 16});
  ddpm::write_png("samples.png", ddpm::make_grid(images, /*columns=*/4));
}
