package loader

import (
	"strings"
	"testing"

	"valence/connectors"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// described is a connector whose operations are the lines of a file.
func described() *connectors.Connector {
	type settings struct{ File string }
	return &connectors.Connector{
		Name: "lines", Settings: []spec.Field{spec.String("file", func(s *settings) *string { return &s.File }, "File.").Required()},
		NewSettings: func() any { return &settings{} },
		Describe: func(v any, files connectors.Files) ([]connectors.Operation, fault.Problems) {
			name := v.(*settings).File
			content, ok := files(name)
			if !ok {
				return nil, fault.Problems{{Code: "bad-file", Msg: "there is no file " + name}}
			}
			var all []connectors.Operation
			for i, line := range strings.Fields(string(content)) {
				if line == "bad" {
					return nil, fault.Problems{{Pos: fault.Pos{File: name, Line: i + 1, Col: 1}, Code: "bad-file", Msg: "bad line"}}
				}
				all = append(all, connectors.Operation{Name: line, Doc: line, Safe: true})
			}
			return all, nil
		},
	}
}

func TestDescribedOperations(t *testing.T) {
	load := func(content, call, file string) (*processes.Project, string) {
		project := "connection: c\nconnector: lines\nfile: " + file + "\n---\nprocess: p\nsteps:\n  - call: c." + call + "\n"
		p, problems := Load([]processes.File{{Name: "in/p.yaml", Content: []byte(project)}, {Name: "in/ops.wsdl", Content: []byte(content)}},
			&processes.Catalog{Steps: testSteps(), Connectors: connectors.Registry{"lines": described()}})
		return p, problems.Error()
	}
	one, problems := load("get\nput", "get", "ops.wsdl")
	if problems != "" {
		t.Fatalf("got %s, want no problems", problems)
	}
	two, _ := load("get\nput\nmore", "get", "ops.wsdl")
	if one.Processes["p"].Hash == two.Processes["p"].Hash || one.Connections["c"].Hash == two.Connections["c"].Hash {
		t.Error("got the same hashes for another description, want different ones")
	}
	for _, test := range []struct{ content, call, file, want string }{
		{"get put", "gett", "ops.wsdl", "in/p.yaml:7:11: error: the connection c has no operation `gett`"},
		{"get bad", "get", "ops.wsdl", "in/ops.wsdl:2:1: error: bad line"},
		{"get", "get", "none.wsdl", "in/p.yaml:1:1: error: there is no file none.wsdl"},
		{"get", "get", "../../ops.wsdl", "there is no file ../../ops.wsdl"},
	} {
		if _, got := load(test.content, test.call, test.file); !strings.Contains(got, test.want) {
			t.Errorf("%s in %s: got %s, want %s", test.call, test.content, got, test.want)
		}
	}
}

// TestBodiesOfDescribedOperations checks which template a call is checked with.
func TestBodiesOfDescribedOperations(t *testing.T) {
	c := described()
	plain := c.Describe
	c.Describe = func(v any, files connectors.Files) ([]connectors.Operation, fault.Problems) {
		all, problems := plain(v, files)
		for i := range all {
			all[i].SendsBody = true
			all[i].CheckBody = func(s *expression.Shape) fault.Problems {
				if len(s.Fields) == 0 {
					return nil
				}
				return fault.Problems{{Pos: s.Fields[0].Pos, Msg: "it has " + s.Fields[0].Name, Hint: "remove it"}}
			}
		}
		return all, problems
	}
	for _, test := range []struct{ steps, want string }{
		{"  - call: c.get\n    body: { a: 1 }\n", "8:13: error: it has a [body-mismatch]"},
		{"  - map: { b: 1 }\n  - log: x\n  - call: c.get\n", "7:12: error: it has b"},
		{"  - map: { b: 1 }\n  - if: ${doc.b == 1}\n    then:\n      - try:\n          - call: c.get\n        catch:\n          - throw:\n", "7:12: error: it has b"},
		{"  - map: { b: 1 }\n    into: v\n  - call: c.get\n  - log: ${vars.v}\n", ""},
		{"  - map: { b: 1 }\n    when: ${doc.x}\n  - call: c.get\n", ""},
		{"  - map: { b: 1 }\n  - map: ${doc.b}\n  - call: c.get\n", ""},
		{"  - map: { b: 1 }\n  - call: c.get\n    body: ${doc}\n", ""},
		{"  - map: { b: [1] }\n  - for_each: ${doc.b}\n    steps:\n      - call: c.get\n", ""},
	} {
		project := "connection: c\nconnector: lines\nfile: ops.wsdl\n---\nprocess: p\nsteps:\n" + test.steps
		_, problems := Load([]processes.File{{Name: "p.yaml", Content: []byte(project)}, {Name: "ops.wsdl", Content: []byte("get")}},
			&processes.Catalog{Steps: testSteps(), Connectors: connectors.Registry{"lines": c}})
		if got := problems.Error(); test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s, want %s", test.steps, got, test.want)
		}
	}
}

// TestCodesOfDescribedOperations checks which codes of the other system a catch
// may name.
func TestCodesOfDescribedOperations(t *testing.T) {
	c := described()
	plain := c.Describe
	c.Describe = func(v any, files connectors.Files) ([]connectors.Operation, fault.Problems) {
		all, problems := plain(v, files)
		for i := range all {
			all[i].Codes = []string{"Server", "Client", "Client."}
		}
		return all, problems
	}
	for code, want := range map[string]string{
		"Server": "", "Client.Limit": "", "timeout": "", "Limit": "no failure has the code `Limit`", "Server.Limit": "no failure has the code `Server.Limit`", "Servr": "did you mean `Server`?",
	} {
		project := "connection: c\nconnector: lines\nfile: ops.wsdl\n---\nprocess: p\nsteps:\n  - try:\n      - call: c.get\n    catch:\n      codes: [" + code + "]\n      steps:\n        - log: x\n"
		_, problems := Load([]processes.File{{Name: "p.yaml", Content: []byte(project)}, {Name: "ops.wsdl", Content: []byte("get")}},
			&processes.Catalog{Steps: testSteps(), Connectors: connectors.Registry{"lines": c}})
		if got := problems.Error(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", code, got, want)
		}
	}
}
