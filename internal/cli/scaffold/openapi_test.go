package scaffold

import (
	"fmt"
	"strings"
	"testing"
)

// openAPI returns an OpenAPI document with some paths and schemas.
func openAPI(paths, schemas string) []byte {
	return []byte("openapi: 3.1.0\ninfo: { title: Shop }\npaths:\n" + paths + "components:\n  schemas:\n" + schemas)
}

func texts(files []File) string {
	var b strings.Builder
	for _, f := range files {
		b.WriteString("# " + f.Name + "\n" + f.Text)
	}
	return b.String()
}

// A schema that refers to itself, and examples that do not match their schema,
// leave no test but a note.
func TestExamplesMatchTheirSchema(t *testing.T) {
	doc := openAPI(`  /codes:
    post:
      operationId: addCode
      requestBody: { content: { application/json: { schema: { $ref: "#/components/schemas/Code" } } } }
      responses: { "200": { description: ok } }
  /trees:
    post:
      operationId: addTree
      requestBody: { content: { application/json: { schema: { $ref: "#/components/schemas/Tree" } } } }
      responses: { "200": { description: ok } }
`, `    Code: { type: string, pattern: "^[0-9]{4}$" }
    Tree: { type: object, required: [left], properties: { left: { $ref: "#/components/schemas/Tree" } } }
`)
	files, notes, err := OpenAPI(doc, AsConnection)
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(files); strings.Contains(got, "# tests.yaml") || !strings.Contains(got, "profile: code\n") || !strings.Contains(got, "profile: tree\n") {
		t.Errorf("got %s, want both profiles and no tests", got)
	}
	if got := strings.Join(notes, "\n"); strings.Count(got, "the schema has no simple example") != 2 {
		t.Errorf("got the notes %q, want one for each process", got)
	}
}

// Names of operations that are the same, or no names, become names of processes
// all the same, and paths of the atom stay free.
func TestNamesAndPaths(t *testing.T) {
	doc := openAPI(`  /executions/{ID}:
    get: { operationId: "Get/It", responses: {} }
    put: { operationId: get_it, responses: {} }
    delete: { responses: {} }
    head: { responses: {} }
`, "    X: {}\n")
	files, notes, err := OpenAPI(doc, AsListener)
	if err != nil {
		t.Fatal(err)
	}
	got := texts(files)
	for _, want := range []string{"process: get-it\n", "process: get-it-2\n", "process: delete-executions-by-id\n", `path: "/api/executions/{id}", method: GET`, "scheme: api_key\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %q in it", got, want)
		}
	}
	if strings.Contains(got, "none\nkey") || strings.Contains(got, "auth: none") {
		t.Errorf("got a listener without authentication: %s", got)
	}
	if len(notes) != 4 || !strings.Contains(notes[0], "HEAD /executions/{ID}") {
		t.Errorf("got the notes %q, want the method and three reserved paths", notes)
	}
}

// TestFilesHaveNamesOfTheirOwn names the API like another file of the project.
func TestFilesHaveNamesOfTheirOwn(t *testing.T) {
	for _, title := range []string{"connections", "tests", "profiles", "auth"} {
		doc := strings.Replace(string(openAPI("  /a:\n    get: { operationId: a, responses: { \"200\": { description: ok } } }\n", "    X: {}\n")), "title: Shop", "title: "+title, 1)
		for _, as := range []string{AsConnection, AsListener} {
			files, _, err := OpenAPI([]byte(doc), as)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, f := range files {
				if seen[f.Name] {
					t.Errorf("%s as %s: got %s twice", title, as, f.Name)
				}
				seen[f.Name] = true
			}
		}
	}
}

// Parameters of one name have properties of their own, and paths that no process
// can have leave a note.
func TestParametersAndPaths(t *testing.T) {
	doc := openAPI(`  /users/{id}/orders:
    get:
      operationId: list
      parameters:
        - { name: id, in: query, required: true, schema: { type: string } }
        - { name: ID, in: header, required: true, schema: { type: string } }
      responses: {}
  /../x: { get: { operationId: up, responses: {} } }
  "/x${secret.TOKEN}": { get: { operationId: secret, responses: {} } }
  "/x?b={c}": { get: { operationId: query, responses: {} } }
  "/files/{name}.json": { get: { operationId: part, responses: {} } }
`, "    X: {}\n")
	files, notes, err := OpenAPI(doc, AsConnection)
	if err != nil {
		t.Fatal(err)
	}
	text := texts(files)
	for _, want := range []string{"/users/${props.id_path}/orders", "\"id\": \"${props.id}\"", "${props.id_header}"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("got %s, want %s once", text, want)
		}
	}
	if strings.Contains(text, "TOKEN") || strings.Count(text, "process: ") != 1 || len(notes) < 4 {
		t.Errorf("got %s and the notes %q, want one process and a note for each other path", text, notes)
	}
}

// TestExamplesAreBounded reads schemas whose examples are exponential.
func TestExamplesAreBounded(t *testing.T) {
	var wide, deep []string
	for i := range 100 {
		wide = append(wide, fmt.Sprintf("f%d: { $ref: '#/components/schemas/Wide' }", i))
	}
	for i := range 100 {
		deep = append(deep, fmt.Sprintf("f%d", i))
	}
	doc := openAPI(`  /wide:
    post:
      operationId: wide
      requestBody: { content: { application/json: { schema: { $ref: "#/components/schemas/Wide" } } } }
      responses: {}
  /lists:
    post:
      operationId: lists
      requestBody: { content: { application/json: { schema: { $ref: "#/components/schemas/Lists" } } } }
      responses: {}
`, "    Wide: { type: object, required: ["+strings.Join(deep, ", ")+"], properties: { "+strings.Join(wide, ", ")+" } }\n"+
		"    Lists: { type: array, minItems: 10, items: { $ref: '#/components/schemas/Lists' } }\n")
	files, notes, err := OpenAPI(doc, AsConnection)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(texts(files)); n > 1<<20 || len(notes) < 2 {
		t.Errorf("got %d bytes and the notes %q, want small files and a note for each", n, notes)
	}
}
