package platform

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/cloud/platform/filter"
)

// doc is an object of the OpenAPI document.
type doc = map[string]any

// describeAPI writes the OpenAPI 3.1 description from the same tables that the
// API itself follows.
func describeAPI(all []endpoint) []byte {
	schemas := commonSchemas()
	var tags []doc
	for _, r := range objects() {
		d := r.describe()
		tags = append(tags, doc{"name": d.Name, "description": d.Doc})
		if d.Unavailable != "" {
			schemas[d.Name] = doc{"type": "object", "description": d.Doc}
			continue
		}
		schemas[d.Name] = schemaOf(d)
		schemas[d.Name+"QueryResult"] = resultOf(ref(d.Name))
	}
	paths := doc{}
	for _, e := range all {
		path := "/{accountId}/" + strings.Join(e.path, "/")
		item, _ := paths[path].(doc)
		if item == nil {
			item = doc{"parameters": parametersOf(e)}
			paths[path] = item
		}
		item[strings.ToLower(e.method)] = operationOf(e)
	}
	text, err := json.MarshalIndent(doc{
		"openapi": "3.1.0",
		"info": doc{"title": "Valence platform API", "version": "1",
			"description": "The objects and actions of the AtomSphere platform API that this control plane has, in JSON and XML. Differences are listed in docs/platform-api.md.",
			"license":     doc{"name": "See the project", "identifier": "LicenseRef-Valence"}},
		"servers":    []doc{{"url": strings.TrimSuffix(Root, "/")}},
		"tags":       tags,
		"security":   []doc{{"basic": []string{}}},
		"paths":      paths,
		"components": doc{"schemas": schemas, "responses": responses(), "securitySchemes": doc{"basic": doc{"type": "http", "scheme": "basic", "description": "The user is BOOMI_TOKEN. and the name of an API token, the password the token."}}},
	}, "", " ")
	if err != nil {
		panic("platform: the OpenAPI document does not encode: " + err.Error()) // only texts, numbers and lists are in it
	}
	return append(text, '\n')
}

func ref(schema string) doc { return doc{"$ref": "#/components/schemas/" + schema} }

func objectOf(required []string, properties doc) doc {
	out := doc{"type": "object", "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// texts describes an object of texts.
func texts(names ...string) doc {
	properties := doc{}
	for _, n := range names {
		properties[n] = doc{"type": "string"}
	}
	return objectOf(nil, properties)
}

func array(items doc) doc { return doc{"type": "array", "items": items} }

// schemaOf describes an object by its properties.
func schemaOf(d description) doc {
	properties := doc{"@type": doc{"const": d.Name}}
	for _, p := range d.Properties {
		if !p.Answered {
			continue
		}
		s := doc{"description": p.Doc, "type": "string"}
		switch {
		case p.Long:
			s = doc{"description": p.Doc + ` In JSON ["Long", n].`, "type": "array", "prefixItems": []doc{{"const": "Long"}, {"type": "integer"}}, "minItems": 2, "maxItems": 2}
		case p.Type == filter.Number:
			s["type"] = "integer"
		case p.Type == filter.Bool:
			s["type"] = "boolean"
		case p.Type == filter.Time:
			s["format"] = "date-time"
		}
		if len(p.Enum) > 0 {
			s["enum"] = p.Enum
		}
		if p.Write == readOnly {
			s["readOnly"] = true
		}
		properties[p.Name] = s
	}
	maps.Copy(properties, d.Also)
	return doc{"type": "object", "description": d.Doc + " Its id is " + d.ID + ".", "properties": properties}
}

func resultOf(item doc) doc {
	return doc{"type": "object", "properties": doc{
		"@type":           doc{"const": "QueryResult"},
		"numberOfResults": doc{"type": "integer", "description": "Of this page."},
		"queryToken":      doc{"type": "string", "description": "For queryMore, where there is more."},
		"result":          array(item),
	}}
}

// commonSchemas are those that no object's table holds.
func commonSchemas() doc {
	text := doc{"type": "string"}
	object := objectOf
	return doc{
		"Error":       object([]string{"message"}, doc{"@type": doc{"const": "Error"}, "message": text}),
		"QueryConfig": object(nil, doc{"QueryFilter": object(nil, doc{"expression": ref("Expression")})}),
		"Expression": object([]string{"operator"}, doc{
			"operator":         doc{"type": "string", "enum": append([]filter.Operator{"and", "or"}, filter.Operators()...)},
			"property":         text,
			"argument":         array(text),
			"nestedExpression": array(ref("Expression")),
		}),
		"BulkRequest": object(nil, doc{"type": doc{"const": "GET"}, "request": doc{"type": "array", "maxItems": maxBulk, "items": object([]string{"id"}, doc{"id": text})}}),
		"BulkResult": object(nil, doc{"response": array(object(nil, doc{"index": doc{"type": "integer"}, "id": text, "statusCode": doc{"type": "integer"},
			"errorMessage": text, "Result": doc{"type": "object"}}))}),
		"ProcessExecutionRequest": object([]string{"atomId"}, doc{"processId": text, "processName": text, "atomId": text,
			"ProcessProperties": object(nil, doc{"ProcessProperty": array(object([]string{"Name", "Value"}, doc{"Name": text, "Value": text}))})}),
		"ExecutionRequest": object([]string{"atomId"}, doc{"@type": doc{"const": "ExecutionRequest"}, "processId": text, "processName": text, "atomId": text,
			"DynamicProcessProperties": object(nil, doc{"DynamicProcessProperty": array(object([]string{"name", "value"}, doc{"name": text, "value": text}))}),
			"requestId":                doc{"type": "string", "readOnly": true}, "recordUrl": doc{"type": "string", "readOnly": true},
			"document": text, "documentType": text, "documentEncoding": doc{"const": "base64"}, "idempotencyKey": text,
			"record": doc{"$ref": "#/components/schemas/ExecutionRecord"}}),
		"AsyncOperationResult": object(nil, doc{"@type": doc{"const": "AsyncOperationResult"}, "responseStatusCode": doc{"type": "integer"},
			"numberOfResults": doc{"type": "integer"}, "result": array(doc{"type": "object"})}),
		"AsyncOperationTokenResult": object(nil, doc{"@type": doc{"const": "AsyncOperationTokenResult"}, "responseStatusCode": doc{"type": "integer"},
			"asyncToken": object([]string{"token"}, doc{"token": text})}),
		"ChangeListenerStatusRequest": object([]string{"containerId", "action"}, doc{"containerId": text, "listenerId": text,
			"action": doc{"type": "string", "enum": []string{"pause", "resume", "restart", "pause_all", "resume_all", "restart_all"}}}),
	}
}

// content is a schema in both formats.
func content(schema doc) doc {
	out := doc{}
	for _, f := range []codec.Format{codec.JSON, codec.XML} {
		out[f.MediaType()] = doc{"schema": schema}
	}
	return out
}

// failures are the statuses that every operation may answer.
var failures = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable}

func responses() doc {
	out := doc{}
	for _, status := range append([]int{http.StatusNotImplemented}, failures...) {
		out["E"+strconv.Itoa(status)] = doc{"description": http.StatusText(status), "content": content(ref("Error"))}
	}
	return out
}

func parametersOf(e endpoint) []doc {
	all := []doc{{"name": "accountId", "in": "path", "required": true, "schema": doc{"type": "string"}}}
	if placeholders(e) > 0 {
		all = append(all, doc{"name": "id", "in": "path", "required": true, "schema": doc{"type": "string"}})
	}
	return all
}

// operationOf describes one endpoint.
func operationOf(e endpoint) doc {
	need, _ := cloud.Least(e.action)
	name := strings.ToLower(e.method)
	for _, p := range e.path {
		if p != "{id}" {
			name += strings.ToUpper(p[:1]) + p[1:]
		} else {
			name += "ById"
		}
	}
	out := doc{"operationId": name, "summary": e.doc, "description": "Takes the role " + string(need) + ".", "responses": answersOf(e)}
	if e.object != "" {
		out["tags"] = []string{e.object}
	}
	if body := bodyOf(e); body != nil {
		out["requestBody"] = body
	}
	return out
}

func bodyOf(e endpoint) doc {
	schema := e.schema
	switch {
	case e.method != http.MethodPost:
		return nil
	case e.raw:
		return doc{"required": true, "content": doc{"application/octet-stream": doc{}}}
	case e.more:
		return doc{"required": true, "content": doc{"text/plain": doc{"schema": doc{"type": "string"}}}}
	case e.verb == verbQuery:
		return doc{"content": content(ref("QueryConfig"))}
	case e.verb == verbBulk:
		schema = "BulkRequest"
	case e.verb != "":
		schema = e.object
	case schema == "":
		return nil
	}
	return doc{"required": true, "content": content(ref(schema))}
}

func answersOf(e endpoint) doc {
	out := doc{}
	for _, status := range failures {
		out[strconv.Itoa(status)] = doc{"$ref": "#/components/responses/E" + strconv.Itoa(status)}
	}
	if e.unavailable != "" {
		out["501"] = doc{"$ref": "#/components/responses/E501"}
		return out
	}
	success := doc{"description": "Done."}
	switch {
	case e.raw && e.answer == "":
		success["content"] = doc{"application/octet-stream": doc{}}
	case e.verb == verbQuery:
		success["content"] = content(ref(e.object + "QueryResult"))
	case e.verb == verbBulk:
		success["content"] = content(ref("BulkResult"))
	case e.verb != "" && e.verb != verbDelete:
		success["content"] = content(ref(e.object))
	case e.answer != "":
		success["content"] = content(ref(e.answer))
	}
	out[strconv.Itoa(max(e.status, http.StatusOK))] = success
	if e.answer == "AsyncOperationResult" {
		out["202"] = doc{"description": "There is none yet: ask again."}
	}
	return out
}
