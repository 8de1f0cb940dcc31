// The embedding of one image, by a file of `rewho export`, with ONNX Runtime's C++ API.
//
//   g++ -std=c++17 embed.cpp -I ORT/include -L ORT/lib -lonnxruntime -o embed
//   ./embed model.onnx < image.rgb
//
// The image comes from stdin as plain bytes: red, green, blue of each pixel, row by row, already cropped to the model's
// view and resized to its input size. The file normalises by itself. One number is printed per line.

#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <vector>

int main(int count, char** words) {
    if (count != 2) {
        std::fprintf(stderr, "usage: embed model.onnx < image.rgb\n");
        return 2;
    }
    try {
        Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "embed");
        Ort::SessionOptions options;
        options.SetIntraOpNumThreads(1);
        Ort::Session session(env, words[1], options);
        std::vector<int64_t> shape = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
        shape[0] = 1;  // N is free
        const size_t pixels = static_cast<size_t>(shape[2] * shape[3]);

        std::vector<uint8_t> rows(3 * pixels), planes(3 * pixels);
        if (std::fread(rows.data(), 1, rows.size(), stdin) != rows.size()) {
            std::fprintf(stderr, "expected %zu bytes of an image\n", rows.size());
            return 1;
        }
        for (size_t pixel = 0; pixel < pixels; ++pixel)
            for (size_t channel = 0; channel < 3; ++channel)
                planes[channel * pixels + pixel] = rows[3 * pixel + channel];

        auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        auto image = Ort::Value::CreateTensor<uint8_t>(memory, planes.data(), planes.size(), shape.data(), shape.size());
        const std::array<const char*, 1> inputs{"images"}, outputs{"embedding"};
        auto found = session.Run(Ort::RunOptions{nullptr}, inputs.data(), &image, 1, outputs.data(), 1);
        const float* numbers = found[0].GetTensorData<float>();
        for (size_t at = 0; at < found[0].GetTensorTypeAndShapeInfo().GetElementCount(); ++at)
            std::printf("%.9g\n", numbers[at]);
    } catch (const Ort::Exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
