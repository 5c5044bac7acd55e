package scaffold

import (
	"slices"
	"strings"
	"testing"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
)

// secured is an API whose operations have other security schemes.
const secured = `openapi: 3.1.0
info: { title: Shop }
security: [ { key: [] } ]
paths:
  /orders: { get: { operationId: listOrders, responses: {} }, post: { operationId: addOrder, responses: {} } }
  /me: { get: { operationId: me, security: [ { saml: [] }, { token: [] } ], responses: {} } }
  /health: { get: { operationId: health, security: [], responses: {} } }
  /pay: { post: { operationId: pay, security: [ { key: [], token: [] } ], responses: {} } }
components:
  securitySchemes:
    key: { type: apiKey, in: header, name: X-Key }
    token: { type: http, scheme: bearer }
    saml: { type: openIdConnect }
`

// lint returns the errors of a project.
func lint(t *testing.T, files []File) (wrong []string) {
	t.Helper()
	var list []processes.File
	for _, f := range files {
		list = append(list, processes.File{Name: f.Name, Content: []byte(f.Text)})
	}
	_, problems := loader.Load(list, &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")})
	for _, p := range problems {
		if p.Severity == fault.Error {
			wrong = append(wrong, p.Error())
		}
	}
	return wrong
}

func TestSecurityOfOperations(t *testing.T) {
	for as, want := range map[string][]string{
		AsConnection: {
			"connection: shop\nconnector: http\nurl: ${env.SHOP_URL}\nauth: { scheme: api_key, header: \"X-Key\", key: \"${secret.SHOP_KEY}\" }\n",
			"connection: shop-token\nconnector: http\nurl: ${env.SHOP_URL}\nauth: { scheme: bearer, token: \"${secret.SHOP_TOKEN_TOKEN}\" }\n",
			"connection: shop-open\nconnector: http\nurl: ${env.SHOP_URL}\n",
			"call: shop.get", "call: shop.post", "call: shop-token.get", "call: shop-open.get", "call: shop-open.post",
		},
		AsListener: {
			"auth: callers\nscheme: api_key\nheader: \"X-Key\"\nkey: ${secret.CALLER_KEY}\n",
			"auth: callers-token\nscheme: bearer\ntoken: ${secret.CALLER_TOKEN_TOKEN}\n",
			"path: \"/me\", method: GET, input: none, output: json, auth: callers-token }",
			"path: \"/health\", method: GET, input: none, output: json, auth: callers }",
		},
	} {
		files, notes, err := OpenAPI([]byte(secured), as)
		if err != nil {
			t.Fatal(err)
		}
		text := texts(files)
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("%s: got %s, want %q in it", as, text, part)
			}
		}
		if strings.Contains(text, "auth: none") {
			t.Errorf("%s: got %s, want no listener for everybody", as, text)
		}
		for _, note := range []string{"the security scheme saml was not taken over", "pay: its security, key and token, was not taken over"} {
			if !slices.Contains(notes, note) {
				t.Errorf("%s: got the notes %q, want %q", as, notes, note)
			}
		}
		if wrong := lint(t, files); len(wrong) > 0 {
			t.Errorf("%s: got the problems %q, want none", as, wrong)
		}
	}
}

// TestFormatsOfBodies sends each body in the format of its media type.
func TestFormatsOfBodies(t *testing.T) {
	for media, want := range map[string]string{
		"application/xml":                   "with: { path: \"/a\", format: xml }",
		"application/soap+xml":              "format: xml, content_type: \"application/soap+xml\" }",
		"application/x-www-form-urlencoded": "format: form }",
		"multipart/form-data":               "format: multipart }",
		"text/csv":                          "format: text, content_type: \"text/csv\" }",
		"application/pdf":                   "format: binary, content_type: \"application/pdf\" }",
		"application/json":                  "with: { path: \"/a\" }",
	} {
		doc := openAPI("  /a:\n    post:\n      operationId: a\n      requestBody: { content: { "+media+": { schema: { type: object, required: [b], properties: { b: { type: string } } } } } }\n      responses: {}\n", "    X: {}\n")
		files, _, err := OpenAPI(doc, AsConnection)
		if err != nil {
			t.Fatal(err)
		}
		if text := texts(files); !strings.Contains(text, want) {
			t.Errorf("%s: got %s, want %q in it", media, text, want)
		}
		if wrong := lint(t, files); len(wrong) > 0 {
			t.Errorf("%s: got the problems %q, want none", media, wrong)
		}
	}
}

// TestReferences resolves the references of the document, and notes the others.
func TestReferences(t *testing.T) {
	doc := openAPI(`  /a: { $ref: "#/paths/~1b" }
  /b: { get: { operationId: b, responses: {} } }
  /c: { $ref: "#/components/pathItems/C" }
  /d: { $ref: "other.yaml#/paths/~1d" }
  /e: { $ref: "#/paths/~1e" }
  /f:
    post:
      operationId: f
      parameters: [ { $ref: "other.yaml#/components/parameters/Id" } ]
      requestBody: { content: { application/json: { schema: { $ref: "other.yaml#/components/schemas/X" } } } }
      responses: {}
`, "    X: { type: string, minLength: 3 }\n  parameters:\n    Id: { name: id, in: query, required: true }\n  pathItems:\n    C: { put: { operationId: c, responses: {} } }\n")
	files, notes, err := OpenAPI(doc, AsConnection)
	if err != nil {
		t.Fatal(err)
	}
	text := texts(files)
	for _, part := range []string{"path: \"/a\"", "path: \"/b\"", "path: \"/c\"", "path: \"/f\" }"} {
		if !strings.Contains(text, part) {
			t.Errorf("got %s, want %q in it", text, part)
		}
	}
	if strings.Contains(text, "minLength") || strings.Contains(text, "props.id") {
		t.Errorf("got %s, want nothing of another file", text)
	}
	want := []string{
		"the reference other.yaml#/paths/~1d leads to another file, which is not supported, so it was left out",
		"path items refer to each other, so they were left out",
		"the reference other.yaml#/components/parameters/Id leads to another file, which is not supported, so it was left out",
		"the reference other.yaml#/components/schemas/X leads to another file, which is not supported, so it was left out",
	}
	for _, note := range want {
		if !slices.Contains(notes, note) {
			t.Errorf("got the notes %q, want %q", notes, note)
		}
	}
	if wrong := lint(t, files); len(wrong) > 0 {
		t.Errorf("got the problems %q, want none", wrong)
	}
}
