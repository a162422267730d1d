#include <cstdio>
#include <string>

#ifndef MARK
#define MARK "."
#endif

extern "C" int twice(int number);

extern "C" void greet(const char *name) {
    std::string text = "goodbye, " + std::string(name) + ", " + std::to_string(twice(21)) + MARK;
    std::puts(text.c_str());
}

extern "C" const char *where() { return __FILE__; }
