#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *total(PyObject *self, PyObject *list) {
    long sum = 0;
    if (!PyList_Check(list))
        return PyErr_Format(PyExc_TypeError, "a list, please");
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(list); at++)
        sum += PyLong_AsLong(PyList_GET_ITEM(list, at));
    return PyErr_Occurred() ? NULL : PyLong_FromLong(sum);
}

static PyMethodDef methods[] = {{"total", total, METH_O, "Sum of a list."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_fast", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&module); }
