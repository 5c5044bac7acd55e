package loader

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"valence/internal/profile"
	"valence/internal/strictyaml"
	"valence/processes"
	"valence/processes/language"
)

// TestSchema checks that the schema accepts valid projects and rejects the mistakes
// that an editor can detect.
func TestSchema(t *testing.T) {
	schema, err := profile.Compile(language.Schema(testCatalog()), "project")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) []string {
		roots, failed := strictyaml.Parse(text)
		if failed != nil {
			t.Fatalf("got %+v, want nil", failed)
		}
		var wrong []string
		for _, r := range roots {
			for _, v := range schema.Validate(string(appendJSON(nil, r))) {
				wrong = append(wrong, v.Pointer+": "+v.Detail)
			}
		}
		return wrong
	}
	good, err := filepath.Glob("testdata/good/all/*.yaml")
	if err != nil || len(good) == 0 {
		t.Fatalf("got %v, want len(good) above 0 and no error", err)
	}
	for _, name := range good {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := check(string(text)); wrong != nil {
			t.Errorf("%s:\n%s", name, strings.Join(wrong, "\n"))
		}
	}
	for text, pointer := range map[string]string{
		"proces: p\nsteps: []\n":                                              "/proces",
		"process: p\nstepps: []\n":                                            "/stepps",
		"process: p\nsteps: [{ log: x, whn: true }]\n":                        "/steps/0/whn",
		"process: p\nsteps: [{ lgo: x }]\n":                                   "/steps/0/lgo",
		"process: p\nsteps: [{ if: true, then: [{ log: x, into: X }] }]\n":    "/steps/0/then/0/into",
		"process: p\nlisten: { pth: /x }\nsteps: []\n":                        "/listen/pth",
		"process: p\nworkers: many\nsteps: []\n":                              "/workers",
		"process: p\nschedule: {}\nsteps: []\n":                               "/schedule",
		"connection: c\nconnector: web\nurl: x\nulr: y\n":                     "/ulr",
		"connection: c\nconnector: none\n":                                    "/connector",
		"auth: a\nscheme: hmac\nsecret: ${secret.X}\ntokn: x\n":               "/tokn",
		"environment: e\nsecrets: { A: plain }\n":                             "/secrets/A",
		"profile: p\nschma: {}\n":                                             "/schma",
		"process: p\nsteps: [{ try: [], catch: { steps: [], handeld: no } }]": "/steps/0/catch",
	} {
		wrong := strings.Join(check(text), "\n")
		if !strings.Contains(wrong, pointer+":") && !strings.Contains(wrong, strings.TrimPrefix(filepath.Base(pointer), "/")) {
			t.Errorf("%q: got %q, want an error at %s", text, wrong, pointer)
		}
	}
}

// TestReference checks that the reference covers all declarations.
func TestReference(t *testing.T) {
	cat := testCatalog()
	text := string(language.Reference(cat)) + string(language.ConnectorReference(cat))
	for _, k := range cat.Steps {
		if !strings.Contains(text, "### Step `"+k.Kind+"`") {
			t.Errorf("the step %s is missing", k.Kind)
		}
	}
	for _, want := range []string{"`listen.limits.body`", "### Scheme `jwt`", "## Connector `web`", "| `catch.handled` |", "(expressions.md)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(text, "### `test:`") {
		t.Error("the reference lists unsupported kinds")
	}
}

// TestCodes checks that each code of lint is documented and occurs in testdata/bad.
func TestCodes(t *testing.T) {
	documented := map[string]bool{}
	for _, c := range language.Codes() {
		if c.Doc == "" || documented[string(c.Code)] {
			t.Errorf("%s is not documented exactly once", c.Code)
		}
		documented[string(c.Code)] = false
	}
	goldens, err := filepath.Glob("testdata/bad/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`(?m)\[([a-z_-]+)\]$`)
	for _, g := range goldens {
		text, err := os.ReadFile(g)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range code.FindAllStringSubmatch(string(text), -1) {
			if _, ok := documented[m[1]]; !ok {
				t.Errorf("%s: the code %s is not documented", g, m[1])
			}
			documented[m[1]] = true
		}
	}
	elsewhere := map[string]bool{string(processes.CodeTooLarge): true, string(processes.CodeNoWatermark): true, string(processes.CodeBodyMismatch): true, "expression_value": true, "expression_size": true}
	for c, shown := range documented {
		if !shown && !elsewhere[c] {
			t.Errorf("no file in testdata/bad has the code %s", c)
		}
	}
}
