#include <stdio.h>

void greet(const char *name);
const char *where(void);

int main(int count, char **words) {
    greet(count > 1 ? words[1] : "world");
    puts(where());
    return 0;
}
