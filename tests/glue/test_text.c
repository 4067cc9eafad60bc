/* TSV of every task of GLUE; CSV; JSON lines. */
#include "bytes.h"

/* A file, and its examples as "index,label,text,pair;" each (label "-": none). */
static const struct {
    const char *task, *name, *bytes, *expected;
} samples[] = {
    /* Lines in the form of GLUE's own files. */
    {"cola", "dev.tsv", "gj04\t1\t\tThe sailors rode.\ngj04\t0\t*\tThe \"more.\n",
     "0,1,The sailors rode.,;1,0,The \"more.,;"},
    {"cola", "test.tsv", "index\tsentence\n0\tBill wept.\n1\tJohn.\n",
     "0,-,Bill wept.,;1,-,John.,;"},
    {"sst2", "dev.tsv", "sentence\tlabel\nit 's charming \t1\nunflinching \t0\n",
     "0,1,it 's charming ,;1,0,unflinching ,;"},
    {"sst2", "test.tsv", "index\tsentence\n0\tuneasy\n", "0,-,uneasy,;"},
    {"mrpc", "dev.tsv",
     "\xef\xbb\xbfQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
     "1\t1355540\t1355592\tHe said \"no\t\"He said\r\n0\t2\t3\tA\tB\r\n",
     "0,1,He said \"no,\"He said;1,0,A,B;"},
    {"mrpc", "test.tsv", "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n7\t1\t2\tPCCW's\tCurrent\n",
     "7,-,PCCW's,Current;"},
    {"qqp", "dev.tsv",
     "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n133273\t213221\t213222\tWhy?\tHow?\t0\n"
     "1\t2\t3\tA?\tB?\t1\n4\t5\t6\tshort\n7\t8\t9\tshort\ttoo\n",
     "0,0,Why?,How?;1,1,A?,B?;2 skipped"},
    {"qqp", "test.tsv", "id\tquestion1\tquestion2\n0\tWhy?\tHow?\n", "0,-,Why?,How?;"},
    {"stsb", "dev.tsv",
     "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
     "0\tmain\tMSRvid\t2012\t1\tnone\tnone\tA man.\tA girl.\t5.000\n"
     "1\tmain\tMSRvid\t2012\t2\tnone\tnone\tA.\tB.\t0\n2\tm\tM\t2\t3\tn\tn\tC.\tD.\t2.75\n",
     "0,5,A man.,A girl.;1,0,A.,B.;2,2.75,C.,D.;"},
    {"stsb", "test.tsv",
     "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\n"
     "0\tmain\tMSRvid\t2012\t1\tnone\tnone\tA man.\tA girl.\n",
     "0,-,A man.,A girl.;"},
    {"mnli", "dev_matched.tsv",
     "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
     "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n"
     "0\t1\t1e\tslate\t( a )\t( b )\t(A)\t(B)\tThe new\tEveryone\tneutral\tneutral\tneutral\n"
     "1\t1\t1e\tslate\t( a )\t( b )\t(A)\t(B)\tc\td\tneutral\tneutral\tcontradiction\n"
     "2\t1\t1e\tslate\t( a )\t( b )\t(A)\t(B)\te\tf\tneutral\tneutral\tentailment\n"
     "3\t1\t1e\tslate\t( a )\t( b )\t(A)\t(B)\tg\th\tneutral\tentailment\t-\n",
     "0,1,The new,Everyone;1,2,c,d;2,0,e,f;3,-,g,h;"},
    {"mnli_mismatched", "x.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tcontradiction\n",
     "0,2,a,b;"},
    {"qnli", "dev.tsv",
     "index\tquestion\tsentence\tlabel\n0\tWhat?\tThis.\tentailment\n"
     "1\tWho?\tShe.\tnot_entailment\n",
     "0,0,What?,This.;1,1,Who?,She.;"},
    {"rte", "dev.tsv",
     "index\tsentence1\tsentence2\tlabel\n0\tDana\tReeve\tnot_entailment\n"
     "5\tYet\tBacteria\tentailment\n",
     "0,1,Dana,Reeve;5,0,Yet,Bacteria;"},
    {"wnli", "dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\tThe drain\tThe hair\t1\n",
     "0,1,The drain,The hair;"},
    {"ax", "diagnostic.tsv", "index\tsentence1\tsentence2\n0\tThe cat\tThe mat\n",
     "0,-,The cat,The mat;"},
    {"ax", "full.tsv", "Domain\tPremise\tHypothesis\tLabel\nNews\tp\th\tneutral\n", "0,1,p,h;"},

    /* TSV: forms of lines. */
    {"rte", "x.tsv", "label\tsentence2\tsentence1\n1\tb\ta", "0,1,a,b;"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel", ""},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\r\n", ""},
    {"rte", "x.tsv", "sentence1\tsentence2\n\n\r\na\tb\n\n", "0,-,a,b;"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\n\t\t\n", "0,-,,;"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\na\tb\t1\tmore\n", "0,1,a,b;"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\n\"a\tb\"\t1\n'a\t\"\"b\t0\n",
     "0,1,\"a,b\";1,0,'a,\"\"b;"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\na\rb\tc\r\t-1\r\n", "0,-,a\rb,c\r;"},
    {"rte", "x.tsv", "Sentence1\tSENTENCE2\tLabel\na\tb\tEntailment\n", "0,0,a,b;"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\n\xff\xc3\t\xed\xa0\x80\t1\n",
     "0,1,\xff\xc3,\xed\xa0\x80;"},
    {"rte", "x.tsv", "sentence1\tsentence2\tidx\nx\ty\t12\nx\ty\t\nx\ty\t1.5\nx\ty\ta\n",
     "12,-,x,y;1,-,x,y;2,-,x,y;3,-,x,y;"},
    {"rte", "x.tsv", "premise\thypothesis\tlabel\na\tb\t0\n", "0,0,a,b;"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\na\tb\t1.0\n", "0,1,a,b;"},
    {"stsb", "x.tsv", "sentence1\tsentence2\tlabel\na\tb\t-1\n", "0,-,a,b;"},

    /* CSV. */
    {"rte", "x.csv", "sentence1,sentence2,label\na,b,1\n", "0,1,a,b;"},
    {"rte", "x.csv", "sentence1,sentence2,label\r\n\"a, \"\"b\"\"\",\"c\r\nd\",0\r\n\"\",\"\",\r\n",
     "0,0,a, \"b\",c\r\nd;1,-,,;"},
    {"rte", "x.csv", "\xef\xbb\xbf\"sentence1\",\"sentence2\"\n\"a\",\"b\"", "0,-,a,b;"},
    {"rte", "x.csv", "sentence1,sentence2\n\n\r\na b\"c\",d\n\n", "0,-,a b\"c\",d;"},
    {"rte", "x.csv", "sentence1,sentence2\na,\nb,\"\"", "0,-,a,;1,-,b,;"},
    {"rte", "x.csv", "sentence1,sentence2\na\rb,c\r", "0,-,a\rb,c;"},
    {"rte", "x.csv", "sentence1,sentence2\r\na,\"c\"\r", "0,-,a,c;"},
    {"rte", "x.csv", "idx,sentence1,sentence2,label\n3,a,b,not_entailment\n", "3,1,a,b;"},
    {"cola", "x.csv", "sentence\na\n", "0,-,a,;"},
    {"cola", "x.csv", "sentence", ""},

    /* JSON lines. */
    {"rte", "x.jsonl", "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":1,\"idx\":5}\n",
     "5,1,a,b;"},
    {"rte", "x.jsonl",
     "\n{\"premise\": \"\\u00e9\\ud83d\\ude00\\n\", \"hypothesis\": \"\", \"label\": "
     "\"entailment\"}\r\n"
     "  \n{\"sentence2\": \"d\", \"sentence1\": \"c\", \"more\": [1, {}], \"label\": null}",
     "0,0,é😀\n,;1,-,c,d;"},
    {"rte", "x.jsonl",
     "{\"sentence1\":\"a\",\"sentence2\":\"b\"}\n{\"sentence1\":\"c\",\"sentence2\":\"d\","
     "\"label\":"
     "false}\n{\"sentence1\":\"e\",\"sentence2\":\"f\",\"label\":1.0}\n",
     "0,-,a,b;1,0,c,d;2,1,e,f;"},
    {"stsb", "x.jsonl", "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"score\":2.5}", "0,2.5,a,b;"},
    {"rte", "x.jsonl", "\n", ""},

    /* The format is recognised by content if the name has no suffix. */
    {"rte", "-", "sentence1\tsentence2\na,b\tc\n", "0,-,a,b,c;"},
    {"rte", "-", "sentence1,sentence2\na\tb,c\n", "0,-,a\tb,c;"},
    {"rte", "-", "{\"sentence1\":\"a\",\"sentence2\":\"b\"}", "0,-,a,b;"},
    {"cola", "-", "sentence\na, b\n", "0,-,a, b,;"},
    {"rte", "x.txt", "sentence1\tsentence2\na\tb\n", "0,-,a,b;"},
};

/* The examples in the form of `expected`; the caller frees it. */
static char *show(const mc_glue_data *data)
{
    char *text = NULL;
    size_t size;
    FILE *const out = open_memstream(&text, &size);
    for (size_t i = 0; i < mc_glue_count(data); i++) {
        const mc_glue_example one = mc_glue_example_at(data, i);
        fprintf(out, "%lld,", (long long)one.index);
        if (isnan(one.label))
            fputc('-', out);
        else
            fprintf(out, "%g", one.label);
        fprintf(out, ",%.*s,", (int)one.size, one.text);
        fprintf(out, "%.*s;", (int)one.pair_size, one.pair ? one.pair : "");
    }
    if (mc_glue_skipped(data) > 0)
        fprintf(out, "%zu skipped", mc_glue_skipped(data));
    fclose(out);
    return text;
}

static void test_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        mc_glue_data *data = NULL;
        mc_error error = MC_ERROR_NONE;
        const char *const bytes = samples[i].bytes;
        if (load_bytes(samples[i].task, samples[i].name, bytes, strlen(bytes), &data, &error) !=
            MC_OK)
            fail_msg("%s %s: %s", samples[i].task, samples[i].name, message_of(&error));
        char *const found = show(data);
        if (strcmp(found, samples[i].expected) != 0)
            fail_msg("%s %s: expected\n%s\nfound\n%s", samples[i].task, samples[i].name,
                     samples[i].expected, found);
        bool labelled = false;
        for (size_t k = 0; k < mc_glue_count(data); k++)
            labelled = labelled || !isnan(mc_glue_example_at(data, k).label);
        assert_true(mc_glue_labelled(data) == labelled);
        free(found);
        mc_glue_data_free(data);
    }
}

static void test_nul(void **state)
{
    (void)state;
    static const char bytes[] = "sentence1\tsentence2\na\0c\tb\n";
    mc_glue_data *data = NULL;
    assert_int_equal(load_bytes("rte", "x.tsv", bytes, sizeof bytes - 1, &data, NULL), MC_OK);
    const mc_glue_example one = mc_glue_example_at(data, 0);
    assert_true(same_text(one.text, one.size, "a\0c", 3) &&
                same_text(one.pair, one.pair_size, "b", 1));
    assert_false(mc_glue_labelled(data));
    mc_glue_data_free(data);
}

/* Malformed files, and the text that the error must have. */
static const struct {
    const char *task, *name, *bytes;
    mc_status status;
    const char *words;
} refused[] = {
    {"rte", "x.tsv", "", MC_FORMAT, "found an empty file"},
    {"rte", "x.csv", "", MC_FORMAT, "found an empty file"},
    {"rte", "x.jsonl", "", MC_FORMAT, "found an empty file"},
    {"rte", "x.tsv", "\xef\xbb\xbf", MC_FORMAT, "found an empty file"},
    {"rte", "x.csv", "\n\r\n", MC_FORMAT, "expected a line of column names"},
    {"rte", "x.parquet", "sentence1\tsentence2\n", MC_FORMAT, "expected a Parquet file"},
    {"rte", "x.tsv", "\n", MC_FORMAT,
     "expected a column 'sentence1' or '#1 String' or 'premise' for task rte, found ''"},
    {"rte", "x.tsv", "index\tsentence1\tlabel\n", MC_FORMAT,
     "expected a column 'sentence2' or '#2 String' or 'hypothesis' for task rte, found 'index', "
     "'sentence1', 'label'"},
    {"qqp", "x.csv", "question1,label\n", MC_FORMAT,
     "expected a column 'question2' for task qqp, found 'question1', 'label'"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\tsentence2\n", MC_FORMAT,
     "expected one column 'sentence2', found two"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\na\tb\t0\nc\td\tmaybe\n", MC_FORMAT,
     "line 3: column 'label': expected 'entailment', 'not_entailment', or 0 to 1, found maybe"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\na\tb\t2\n", MC_FORMAT, "line 2: column 'label'"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\na\tb\t0.5\n", MC_FORMAT, "found 0.5"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\na\tb\tnan\n", MC_FORMAT, "found nan"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\na\tb\t-2\n", MC_FORMAT, "found -2"},
    {"rte", "x.tsv", "sentence1\tsentence2\tlabel\na\tb\t-\n", MC_FORMAT, "found -"},
    {"rte", "x.tsv",
     "sentence1\tsentence2\tlabel\na\tb\tThis is a sentence that came into the column of labels "
     "because a tab is missing somewhere\n",
     MC_FORMAT, "This is a sentence that came into the column of labels because a tab is missing"},
    {"mnli", "x.tsv", "sentence1\tsentence2\tgold_label\na\tb\t3\n", MC_FORMAT,
     "expected 'entailment', 'neutral', 'contradiction', or 0 to 2, found 3"},
    {"stsb", "x.tsv", "sentence1\tsentence2\tscore\na\tb\t5.1\n", MC_FORMAT,
     "line 2: column 'label': expected a number from 0 to 5, found 5.1"},
    {"stsb", "x.tsv", "sentence1\tsentence2\tscore\na\tb\thigh\n", MC_FORMAT, "found high"},
    {"rte", "x.tsv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", MC_UNSUPPORTED,
     "a Git LFS pointer"},
    {"rte", "x.csv", "sentence1,sentence2\na,b\nc\n", MC_FORMAT,
     "line 3: expected 2 fields as in the header, found 1"},
    {"rte", "x.csv", "sentence1,sentence2\n\"a\n\n\",b\nc,d,e\n", MC_FORMAT,
     "line 5: expected 2 fields as in the header, found 3"},
    {"rte", "x.csv", "sentence1,sentence2\na,\"b\n\n", MC_FORMAT,
     "line 2: expected a closing quote, found the end"},
    {"rte", "x.csv", "sentence1,sentence2\na,\"b\"c\n", MC_FORMAT,
     "line 2: expected a comma or the end of the line after a closing quote, found 'c'"},
    {"rte", "x.csv", "sentence1,sentence2,label\na,\"b\nc\",0\na,b,9\n", MC_FORMAT,
     "line 4: column 'label'"},
    {"rte", "x.jsonl", "{\"sentence1\":\"a\",\"sentence2\":\"b\"}\n{\"sentence1\":}\n", MC_FORMAT,
     "line 2: not valid JSON at byte"},
    {"rte", "x.jsonl", "{\"sentence1\":\"\xff\",\"sentence2\":\"b\"}\n", MC_FORMAT,
     "line 1: not valid JSON"},
    {"rte", "x.json", "[{\"sentence1\":\"a\",\"sentence2\":\"b\"}]", MC_FORMAT,
     "line 1: expected one JSON object per line, found a list"},
    {"rte", "x.jsonl", "{\"sentence1\":\"a\",\"idx\":1}", MC_FORMAT,
     "line 1: expected a column 'sentence2' or '#2 String' or 'hypothesis' for task rte, found "
     "'sentence1', 'idx'"},
    {"rte", "x.jsonl", "{}", MC_FORMAT, "found none"},
    {"rte", "x.jsonl", "{\"sentence1\":\"a\",\"sentence2\":[\"b\"]}", MC_FORMAT,
     "line 1: expected a string or a number as 'sentence2', found a list"},
    {"rte", "x.jsonl", "{\"sentence1\":{},\"sentence2\":\"b\"}", MC_FORMAT, "found an object"},
    {"rte", "x.jsonl", "{\"sentence1\":\"a\",\"sentence2\":null}", MC_FORMAT,
     "line 1: column 'sentence2': expected a text, found null"},
    {"rte", "x.jsonl", "{\"sentence1\":\"a\",\"sentence2\":7}", MC_FORMAT,
     "expected a text, found a whole number"},
    {"rte", "x.jsonl", "{\"sentence1\":\"a\",\"sentence2\":7.5}", MC_FORMAT,
     "expected a text, found a number"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        mc_glue_data *data = NULL;
        mc_error error = MC_ERROR_NONE;
        const mc_status status = load_bytes(refused[i].task, refused[i].name, refused[i].bytes,
                                            strlen(refused[i].bytes), &data, &error);
        if (status != refused[i].status || !strstr(error.text, refused[i].words))
            fail_msg("%s: expected status %d and \"%s\", found status %d: %s", refused[i].bytes,
                     (int)refused[i].status, refused[i].words, (int)status, error.text);
    }
}

/* A header of very many columns: the message is truncated, and memory stays bounded. */
static void test_many_columns(void **state)
{
    (void)state;
    enum { SIZE = 100000 };
    static char bytes[SIZE];
    mc_glue_data *data = NULL;
    mc_error error = MC_ERROR_NONE;
    memset(bytes, '\t', sizeof bytes);
    assert_int_equal(load_bytes("rte", "x.tsv", bytes, SIZE, &data, &error), MC_FORMAT);
    assert_true(strstr(error.text, "found '', ''") != NULL);
    memset(bytes, ',', sizeof bytes);
    assert_int_equal(load_bytes("rte", "x.csv", bytes, SIZE, &data, &error), MC_FORMAT);
    assert_true(strstr(error.text, "found '', ''") != NULL);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        assert_int_equal(load_as_memory_fails(samples[i].task, samples[i].name, samples[i].bytes,
                                              strlen(samples[i].bytes)),
                         MC_OK);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_int_equal(load_as_memory_fails(refused[i].task, refused[i].name, refused[i].bytes,
                                              strlen(refused[i].bytes)),
                         refused[i].status);
}

static void test_row_limit(void **state)
{
    (void)state;
    static const char bytes[] = "sentence\na\nb\nc\n";
    for (size_t limit = 1; limit <= 3; limit++) {
        mc_glue_data *data = NULL;
        mc_error error = MC_ERROR_NONE;
        char *const copy = mc_strdup(bytes);
        assert_int_equal(
            mc_glue_data_new(mc_glue_task_find("cola"), MC_TABLE_BYTES, limit, &data, NULL), MC_OK);
        const mc_status status = mc_glue_data_add(data, MC_GLUE_TSV, copy, strlen(bytes), &error);
        assert_int_equal(status, limit < 3 ? MC_FORMAT : MC_OK);
        assert_true(status == MC_OK || strstr(error.text, "rows, found more"));
        mc_glue_data_free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),   cmocka_unit_test(test_nul),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_many_columns),
        cmocka_unit_test(test_row_limit), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
