#include "glue/tasks.h"

#include <string.h>

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})
#define SPLITS LIST("validation", "train", "test")
#define TWO_LABELS(zero_, one_) .labels = LIST(zero_, one_), .label_count = 2, .label_maximum = 1
#define THREE_LABELS                                                                               \
    .labels = LIST("entailment", "neutral", "contradiction"), .label_count = 3, .label_maximum = 2

/* label_minimum is 0 everywhere. */
static const mc_glue_task tasks[] = {
    {"cola",
     "CoLA",
     "is the sentence grammatical",
     {"sentence"},
     TWO_LABELS("unacceptable", "acceptable"),
     SPLITS,
     LIST("matthews_correlation")},
    {"sst2",
     "SST-2",
     "sentiment of a phrase",
     {"sentence"},
     TWO_LABELS("negative", "positive"),
     SPLITS,
     LIST("accuracy")},
    {"mrpc",
     "MRPC",
     "do two sentences mean the same",
     {"sentence1", "sentence2"},
     TWO_LABELS("not_equivalent", "equivalent"),
     SPLITS,
     LIST("accuracy", "f1")},
    {"qqp",
     "QQP",
     "do two questions ask the same",
     {"question1", "question2"},
     TWO_LABELS("not_duplicate", "duplicate"),
     SPLITS,
     LIST("accuracy", "f1")},
    {"stsb",
     "STS-B",
     "how similar two sentences are, from 0 to 5",
     {"sentence1", "sentence2"},
     .label_maximum = 5,
     .splits = SPLITS,
     .metrics = LIST("pearson", "spearmanr")},
    {"mnli",
     "MNLI",
     "does the hypothesis follow from the premise",
     {"premise", "hypothesis"},
     THREE_LABELS,
     LIST("validation_matched", "validation_mismatched", "train", "test_matched",
          "test_mismatched"),
     LIST("accuracy")},
    {"mnli_matched",
     "MNLI",
     "as mnli, genres that were trained on",
     {"premise", "hypothesis"},
     THREE_LABELS,
     LIST("validation", "test"),
     LIST("accuracy")},
    {"mnli_mismatched",
     "MNLI",
     "as mnli, other genres",
     {"premise", "hypothesis"},
     THREE_LABELS,
     LIST("validation", "test"),
     LIST("accuracy")},
    {"qnli",
     "QNLI",
     "does the sentence answer the question",
     {"question", "sentence"},
     TWO_LABELS("entailment", "not_entailment"),
     SPLITS,
     LIST("accuracy")},
    {"rte",
     "RTE",
     "does the second sentence follow from the first",
     {"sentence1", "sentence2"},
     TWO_LABELS("entailment", "not_entailment"),
     SPLITS,
     LIST("accuracy")},
    {"wnli",
     "WNLI",
     "what a pronoun refers to",
     {"sentence1", "sentence2"},
     TWO_LABELS("not_entailment", "entailment"),
     SPLITS,
     LIST("accuracy")},
    {"ax",
     "diagnostic",
     "GLUE's diagnostic set, for models of mnli",
     {"premise", "hypothesis"},
     THREE_LABELS,
     LIST("test"),
     LIST("matthews_correlation")},
};
enum { TASK_COUNT = sizeof tasks / sizeof *tasks };

/* Aliases of tasks (never the name of another task) and of labels. */
static const char *const task_aliases[][2] = {
    {"mnlimm", "mnli_mismatched"}, {"diagnostic", "ax"}, {"diagnostics", "ax"}};
static const char *const label_aliases[][2] = {
    {"neg", "negative"},
    {"pos", "positive"},
    {"ungrammatical", "unacceptable"},
    {"grammatical", "acceptable"},
    {"not_paraphrase", "not_equivalent"},
    {"paraphrase", "equivalent"},
    {"not_paraphrase", "not_duplicate"},
    {"paraphrase", "duplicate"},
    {"entail", "entailment"},
    {"contradict", "contradiction"},
    {"non_entailment", "not_entailment"},
};

static bool is_filler(char c)
{
    return c == '-' || c == '_' || c == ' ';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* Compares without copies: it runs once per row that has its label as a name. */
bool mc_glue_same_name(const char *a, size_t a_size, const char *b)
{
    const char *const a_end = a + a_size;
    for (;; a++, b++) {
        while (a < a_end && is_filler(*a))
            a++;
        while (is_filler(*b))
            b++;
        if (a == a_end || !*b)
            return a == a_end && !*b;
        if (lower(*a) != lower(*b))
            return false;
    }
}

size_t mc_glue_task_count(void)
{
    return TASK_COUNT;
}

const mc_glue_task *mc_glue_task_at(size_t index)
{
    return &tasks[index];
}

const mc_glue_task *mc_glue_task_find(const char *name)
{
    const size_t size = strlen(name);
    for (size_t i = 0; i < sizeof task_aliases / sizeof *task_aliases; i++)
        if (mc_glue_same_name(name, size, task_aliases[i][0]))
            return mc_glue_task_find(task_aliases[i][1]);
    for (size_t i = 0; i < TASK_COUNT; i++)
        if (mc_glue_same_name(name, size, tasks[i].name))
            return &tasks[i];
    return NULL;
}

static int own_label(const mc_glue_task *task, const char *name, size_t size)
{
    for (size_t i = 0; i < task->label_count; i++)
        if (strlen(task->labels[i]) == size && memcmp(task->labels[i], name, size) == 0)
            return (int)i;
    /* An exact name wins, so that labels that differ in case only can be told apart. */
    for (size_t i = 0; i < task->label_count; i++)
        if (mc_glue_same_name(name, size, task->labels[i]))
            return (int)i;
    return -1;
}

/* A task's own names first: "neutral" of one task must not become another's alias. */
int mc_glue_label_number(const mc_glue_task *task, const char *name, size_t size)
{
    int found = own_label(task, name, size);
    for (size_t i = 0; found < 0 && !task->own && i < sizeof label_aliases / sizeof *label_aliases;
         i++)
        if (mc_glue_same_name(name, size, label_aliases[i][0]))
            found = own_label(task, label_aliases[i][1], strlen(label_aliases[i][1]));
    return found;
}

int mc_glue_label_find(const mc_glue_task *task, const char *name)
{
    return mc_glue_label_number(task, name, strlen(name));
}

static const char *own_split(const mc_glue_task *task, const char *name)
{
    for (const char *const *split = task->splits; *split; split++)
        if (strcmp(*split, name) == 0)
            return *split;
    return NULL;
}

/* GLUE's files, the Hub and older scripts name splits differently. */
const char *mc_glue_split_find(const mc_glue_task *task, const char *name)
{
    static const char *const aliases[][2] = {
        {"dev", "validation"},
        {"dev_matched", "validation_matched"},
        {"dev_mismatched", "validation_mismatched"},
        {"validation", "validation_matched"},
        {"test", "test_matched"},
    };
    /* The first split is the one that is scored. */
    if (!name)
        return task->splits[0];
    const char *found = own_split(task, name);
    for (size_t i = 0; !found && i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(name, aliases[i][0]) == 0)
            found = mc_glue_split_find(task, aliases[i][1]);
    return found;
}

/* Names of columns in GLUE's own files and in files like SuperGLUE's, beside those on the Hub. */
static const char *const column_aliases[][2] = {
    {"sentence1", "#1 String"},  {"sentence2", "#2 String"}, {"sentence1", "premise"},
    {"sentence2", "hypothesis"}, {"premise", "sentence1"},   {"hypothesis", "sentence2"},
};

const char *mc_glue_column_names(const mc_glue_task *task, mc_glue_role role,
                                 const char *names[MC_COLUMN_NAMES])
{
    static const char *const labels[] = {"label", "gold_label", "quality", "is_duplicate", "score"};
    size_t count = 0;
    memset(names, 0, MC_COLUMN_NAMES * sizeof *names);
    if (task->own) {
        names[0] = role <= MC_COLUMN_PAIR    ? task->columns[role]
                   : role == MC_COLUMN_LABEL ? task->label_column
                                             : NULL;
    } else if (role == MC_COLUMN_INDEX) {
        names[count++] = "idx";
        names[count++] = "index";
    } else if (role == MC_COLUMN_LABEL) {
        names[count++] = labels[0];
        names[count++] = task->label_count == 3            ? labels[1]
                         : strcmp(task->name, "mrpc") == 0 ? labels[2]
                         : strcmp(task->name, "qqp") == 0  ? labels[3]
                         : task->label_count == 0          ? labels[4]
                                                           : NULL;
    } else if (task->columns[role]) {
        names[count++] = task->columns[role];
        for (size_t i = 0; i < sizeof column_aliases / sizeof *column_aliases; i++)
            if (strcmp(task->columns[role], column_aliases[i][0]) == 0)
                names[count++] = column_aliases[i][1];
    }
    return names[0];
}
