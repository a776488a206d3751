/* A tanh RNN and its backward pass for bpttcheck, without a library:

       cc -O2 rnn.c -o rnn -lm && bpttcheck verify exec:./rnn

   h_t = tanh(W_hx x_t + b_hx + W_hh h_{t-1}), y = h. Arrays are read in the order of the header, which is the same
   for every request. What comes as float is computed in double and rounded once. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int T, B, D, H, bits; /* of the request in hand */

static double *zeros(int n) { return calloc(n + 1, sizeof(double)); }

static double *get(int n) {
    double *a = zeros(n);
    for (int k = 0; k < n; k++) {
        float narrow;
        if (fread(bits == 32 ? (void *)&narrow : (void *)&a[k], bits / 8, 1, stdin) != 1) exit(1);
        if (bits == 32) a[k] = narrow;
    }
    return a;
}

static void put(const double *a, int n) {
    for (int k = 0; k < n; k++) {
        float narrow = a[k];
        fwrite(bits == 32 ? (void *)&narrow : (void *)&a[k], bits / 8, 1, stdout);
    }
}

/* h (T+1, B, H): the states before the first step and after each. */
static void forward(const double *x, const double *W_hx, const double *W_hh, const double *b_hx, double *h) {
    for (int t = 0; t < T; t++)
        for (int b = 0; b < B; b++)
            for (int i = 0; i < H; i++) {
                double a = b_hx[i];
                for (int j = 0; j < D; j++) a += W_hx[i * D + j] * x[(t * B + b) * D + j];
                for (int j = 0; j < H; j++) a += W_hh[i * H + j] * h[(t * B + b) * H + j];
                h[((t + 1) * B + b) * H + i] = tanh(a);
            }
}

/* dh (B, H) holds the cotangent of the final state at first, and the gradient of the initial one in the end. */
static void backward(const double *x, const double *W_hx, const double *W_hh, const double *h, const double *dy,
                     double *dx, double *dW_hx, double *dW_hh, double *db, double *dh) {
    double *da = zeros(H);
    for (int t = T - 1; t >= 0; t--)
        for (int b = 0; b < B; b++) {
            for (int i = 0; i < H; i++) {
                double after = h[((t + 1) * B + b) * H + i];
                da[i] = (1 - after * after) * (dy[(t * B + b) * H + i] + dh[b * H + i]);
                dh[b * H + i] = 0;
                db[i] += da[i];
            }
            for (int i = 0; i < H; i++) {
                for (int j = 0; j < D; j++) {
                    dW_hx[i * D + j] += da[i] * x[(t * B + b) * D + j];
                    dx[(t * B + b) * D + j] += da[i] * W_hx[i * D + j];
                }
                for (int j = 0; j < H; j++) {
                    dW_hh[i * H + j] += da[i] * h[(t * B + b) * H + j];
                    dh[b * H + j] += da[i] * W_hh[i * H + j];
                }
            }
        }
    free(da);
}

static void answer(int pullback) {
    double *x = get(T * B * D), *W_hx = get(H * D), *W_hh = get(H * H), *b_hx = get(H), *initial = get(B * H);
    double *h = zeros((T + 1) * B * H);
    memcpy(h, initial, B * H * sizeof(double));
    forward(x, W_hx, W_hh, b_hx, h);
    if (!pullback) {
        printf("{\"arrays\": [[\"y\", \"float%d\", [%d, %d, %d]], [\"final.h\", \"float%d\", [%d, %d]]]}\n",
               bits, T, B, H, bits, B, H);
        put(h + B * H, T * B * H);
        put(h + T * B * H, B * H);
    } else {
        double *dy = get(T * B * H), *dh = get(B * H);
        double *dx = zeros(T * B * D), *dW_hx = zeros(H * D), *dW_hh = zeros(H * H), *db = zeros(H);
        backward(x, W_hx, W_hh, h, dy, dx, dW_hx, dW_hh, db, dh);
        printf("{\"arrays\": [[\"x\", \"float%d\", [%d, %d, %d]], [\"W_hx\", \"float%d\", [%d, %d]], ",
               bits, T, B, D, bits, H, D);
        printf("[\"W_hh\", \"float%d\", [%d, %d]], [\"b_hx\", \"float%d\", [%d]], ", bits, H, H, bits, H);
        printf("[\"initial.h\", \"float%d\", [%d, %d]]]}\n", bits, B, H);
        put(dx, T * B * D);
        put(dW_hx, H * D);
        put(dW_hh, H * H);
        put(db, H);
        put(dh, B * H);
        free(dy), free(dh), free(dx), free(dW_hx), free(dW_hh), free(db);
    }
    free(x), free(W_hx), free(W_hh), free(b_hx), free(initial), free(h);
}

int main(void) {
    char line[4096], ask[16];
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "{\"ask\": \"%15[a-z]\"", ask) != 1) return 1;
        if (!strcmp(ask, "capabilities"))
            puts("{\"name\": \"rnn.c\", \"cells\": [\"rnn-tanh\"], \"biases\": 1, \"empty\": true}");
        else if (sscanf(line,
                        "{\"ask\": \"%*[a-z]\", \"cell\": \"rnn-tanh\", \"dtype\": \"float%d\", "
                        "\"T\": %d, \"B\": %d, \"D\": %d, \"H\": %d",
                        &bits, &T, &B, &D, &H) == 5)
            answer(!strcmp(ask, "pullback"));
        else
            puts("{\"error\": \"rnn.c does not know this request\"}");
        fflush(stdout);
    }
    return 0;
}
