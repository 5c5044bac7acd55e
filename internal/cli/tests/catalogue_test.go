package tests

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"valence/atom/sandbox"
	"valence/internal/catalogue"
	"valence/internal/cli/project"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
	"valence/processes/testrun"
)

// setups are the inputs and mocks with which the examples of a code run, by
// code. The examples of unmocked have tests of their own.
var setups = map[string]string{
	"bad_answer":       "mocks: { shop.get: { fail: bad_answer } }",
	"circuit_open":     "mocks: { shop.get: { fail: circuit_open } }",
	"connect":          "mocks: { shop.get: [ { fail: connect }, {} ] }",
	"connection_lost":  "mocks: { shop.get: [ { fail: connection_lost }, {} ] }",
	"convert":          "input: 'id,name\n\"1'",
	"deadline":         "mocks: { shop.get: { after: 10m } }",
	"expression":       "input: {}",
	"invalid_document": "input: {}",
	"not_found":        "mocks: { folder.read: { fail: not_found } }",
	"own_key":          "input: { k: 1 }",
	"status":           "mocks: { shop.get: { status: 404 } }",
	"thrown":           "input: {}",
	"timeout":          "mocks: { shop.get: [ { fail: timeout }, {} ] }",
	"unmocked":         "",
	"wait_unknown":     "input: { id: 1 }",
}

// ended runs an example and returns the status and the code of its failure.
func ended(t *testing.T, code, example string) (status, failure string) {
	t.Helper()
	if setup := setups[code]; setup != "" {
		name, _, _ := strings.Cut(strings.TrimPrefix(example, "process: "), "\n")
		example += "---\ntest: the example\ntarget: " + name + "\n" + setup + "\n"
	}
	files := []processes.File{{Name: "example.yaml", Content: []byte(example)}}
	p, problems := loader.Load(files, project.Catalog())
	if problems.HasErrors() {
		t.Fatalf("%s: %v", code, problems)
	}
	results := testrun.RunAll(context.Background(), sandbox.New(p), p, files, testrun.Plan(p, ""))
	if len(results) != 1 || results[0].Outcome == nil {
		t.Fatalf("%s: got %+v, want one outcome", code, results)
	}
	out := results[0].Outcome
	if out.Error != nil {
		var fail struct{ Code string }
		if err := json.Unmarshal(out.Error, &fail); err != nil {
			t.Fatal(err)
		}
		failure = fail.Code
	}
	return out.Status, failure
}

// TestCatalogueExamplesRun runs the examples that the pages say fail with their
// code, and those that avoid or handle it.
func TestCatalogueExamplesRun(t *testing.T) {
	ran := 0
	for _, code := range catalogue.Codes() {
		page, _ := catalogue.Lookup(code)
		if !strings.Contains(page.Text, "\nFails with this code:\n") {
			continue
		}
		ran++
		if _, ok := setups[code]; !ok || len(page.Examples) != 2 {
			t.Errorf("%s: the page says that an example fails, and no setup runs it", code)
			continue
		}
		if status, failure := ended(t, code, page.Examples[0]); failure != code {
			t.Errorf("%s: the first example ended as %s with %q, want this code", code, status, failure)
		}
		if status, failure := ended(t, code, page.Examples[1]); failure == code || status == "" {
			t.Errorf("%s: the second example ended as %s with %q, want another end", code, status, failure)
		}
	}
	if ran != len(setups) {
		t.Errorf("got %d pages with a failing example, want %d", ran, len(setups))
	}
}

// TestCatalogueOfCrashes checks that the first example of each finding of crash
// tests has it, and the second has none.
func TestCatalogueOfCrashes(t *testing.T) {
	for _, code := range []fault.Code{processes.CodeLostCall, processes.CodeChangedResult} {
		page, ok := catalogue.Lookup(string(code))
		if !ok || len(page.Examples) != 2 {
			t.Fatalf("%s: got a page with %d examples, want 2", code, len(page.Examples))
		}
		for i, example := range page.Examples {
			files := []processes.File{{Name: "example.yaml", Content: []byte(example)}}
			p, problems := loader.Load(files, project.Catalog())
			if len(problems) > 0 {
				t.Fatalf("%s: %v", code, problems)
			}
			found := map[string]bool{}
			for _, r := range testrun.KillAt(context.Background(), sandbox.New(p), p, files, testrun.Plan(p, "")) {
				for _, f := range r.Failures {
					found[f.Field] = true
				}
			}
			if want := i == 0; found[string(code)] != want || len(found) > 1 {
				t.Errorf("%s: example %d has the findings %v, want this one: %v", code, i+1, found, want)
			}
		}
	}
}
