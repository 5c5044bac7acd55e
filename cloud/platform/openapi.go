package platform

import (
	"maps"
	"net/http"
	"strconv"
	"strings"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/cloud/platform/filter"
	"valence/internal/openapi"
)

// doc is an object of the OpenAPI document.
type doc = openapi.Doc

// describeAPI generates the OpenAPI 3.1 description from the tables that the API
// itself uses.
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
		schemas[d.Name+"QueryResult"] = resultOf(openapi.Schema(d.Name))
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
	return openapi.Encode(doc{
		"info": doc{"title": "Valence platform API", "version": "1",
			"description": "The objects and actions of the AtomSphere platform API that this control plane implements, in JSON and XML. Differences are listed in docs/reference/platform-api.md.",
			"license":     doc{"name": "See the project", "identifier": "LicenseRef-Valence"}},
		"servers":    []doc{{"url": strings.TrimSuffix(Root, "/")}},
		"tags":       tags,
		"security":   []doc{{"basic": []string{}}},
		"paths":      paths,
		"components": doc{"schemas": schemas, "responses": responses(), "securitySchemes": doc{"basic": doc{"type": "http", "scheme": "basic", "description": "The user name is BOOMI_TOKEN. followed by the name of an API token; the password is the token."}}},
	}, " ")
}

// texts describes an object of strings.
func texts(names ...string) doc {
	properties := doc{}
	for _, n := range names {
		properties[n] = doc{"type": "string"}
	}
	return openapi.Object(nil, properties)
}

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
	return doc{"type": "object", "description": d.Doc + " The id property is " + d.ID + ".", "properties": properties}
}

func resultOf(item doc) doc {
	return doc{"type": "object", "properties": doc{
		"@type":           doc{"const": "QueryResult"},
		"numberOfResults": doc{"type": "integer", "description": "The number of results on this page."},
		"queryToken":      doc{"type": "string", "description": "The token for queryMore, if there are more results."},
		"result":          openapi.Array(item),
	}}
}

// commonSchemas returns the schemas that belong to no object.
func commonSchemas() doc {
	text := doc{"type": "string"}
	return doc{
		"Error":       openapi.Object([]string{"message"}, doc{"@type": doc{"const": "Error"}, "message": text}),
		"QueryConfig": openapi.Object(nil, doc{"QueryFilter": openapi.Object(nil, doc{"expression": openapi.Schema("Expression")})}),
		"Expression": openapi.Object([]string{"operator"}, doc{
			"operator":         doc{"type": "string", "enum": append([]filter.Operator{"and", "or"}, filter.Operators()...)},
			"property":         text,
			"argument":         openapi.Array(text),
			"nestedExpression": openapi.Array(openapi.Schema("Expression")),
		}),
		"BulkRequest": openapi.Object(nil, doc{"type": doc{"const": "GET"}, "request": doc{"type": "array", "maxItems": maxBulk, "items": openapi.Object([]string{"id"}, doc{"id": text})}}),
		"BulkResult": openapi.Object(nil, doc{"response": openapi.Array(openapi.Object(nil, doc{"index": doc{"type": "integer"}, "id": text, "statusCode": doc{"type": "integer"},
			"errorMessage": text, "Result": doc{"type": "object"}}))}),
		"ProcessExecutionRequest": openapi.Object([]string{"atomId"}, doc{"processId": text, "processName": text, "atomId": text,
			"ProcessProperties": openapi.Object(nil, doc{"ProcessProperty": openapi.Array(openapi.Object([]string{"Name", "Value"}, doc{"Name": text, "Value": text}))})}),
		"ExecutionRequest": openapi.Object([]string{"atomId"}, doc{"@type": doc{"const": "ExecutionRequest"}, "processId": text, "processName": text, "atomId": text,
			"DynamicProcessProperties": openapi.Object(nil, doc{"DynamicProcessProperty": openapi.Array(openapi.Object([]string{"name", "value"}, doc{"name": text, "value": text}))}),
			"requestId":                doc{"type": "string", "readOnly": true}, "recordUrl": doc{"type": "string", "readOnly": true},
			"document": text, "documentType": text, "documentEncoding": doc{"const": "base64"}, "idempotencyKey": text,
			"record": doc{"$ref": "#/components/schemas/ExecutionRecord"}}),
		"AsyncOperationResult": openapi.Object(nil, doc{"@type": doc{"const": "AsyncOperationResult"}, "responseStatusCode": doc{"type": "integer"},
			"numberOfResults": doc{"type": "integer"}, "result": openapi.Array(doc{"type": "object"})}),
		"AsyncOperationTokenResult": openapi.Object(nil, doc{"@type": doc{"const": "AsyncOperationTokenResult"}, "responseStatusCode": doc{"type": "integer"},
			"asyncToken": openapi.Object([]string{"token"}, doc{"token": text})}),
		"ChangeListenerStatusRequest": openapi.Object([]string{"containerId", "action"}, doc{"containerId": text, "listenerId": text,
			"action": doc{"type": "string", "enum": []string{"pause", "resume", "restart", "pause_all", "resume_all", "restart_all"}}}),
	}
}

// content describes a schema in both formats.
func content(schema doc) doc {
	out := doc{}
	for _, f := range []codec.Format{codec.JSON, codec.XML} {
		out[f.MediaType()] = doc{"schema": schema}
	}
	return out
}

// failures lists the error statuses of every operation.
var failures = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable}

func responses() doc {
	out := doc{}
	for _, status := range append([]int{http.StatusNotImplemented}, failures...) {
		out["E"+strconv.Itoa(status)] = doc{"description": http.StatusText(status), "content": content(openapi.Schema("Error"))}
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
	need, _ := cloud.MinimumRole(e.action)
	name := strings.ToLower(e.method)
	for _, p := range e.path {
		if p != "{id}" {
			name += strings.ToUpper(p[:1]) + p[1:]
		} else {
			name += "ById"
		}
	}
	out := doc{"operationId": name, "summary": e.doc, "description": "Requires the role " + string(need) + ".", "responses": answersOf(e)}
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
		return doc{"content": content(openapi.Schema("QueryConfig"))}
	case e.verb == verbBulk:
		schema = "BulkRequest"
	case e.verb != "":
		schema = e.object
	case schema == "":
		return nil
	}
	return doc{"required": true, "content": content(openapi.Schema(schema))}
}

func answersOf(e endpoint) doc {
	out := doc{}
	for _, status := range failures {
		out[strconv.Itoa(status)] = openapi.Response("E" + strconv.Itoa(status))
	}
	if e.unavailable != "" {
		out["501"] = openapi.Response("E501")
		return out
	}
	success := doc{"description": "Done."}
	switch {
	case e.raw && e.answer == "":
		success["content"] = doc{"application/octet-stream": doc{}}
	case e.verb == verbQuery:
		success["content"] = content(openapi.Schema(e.object + "QueryResult"))
	case e.verb == verbBulk:
		success["content"] = content(openapi.Schema("BulkResult"))
	case e.verb != "" && e.verb != verbDelete:
		success["content"] = content(openapi.Schema(e.object))
	case e.answer != "":
		success["content"] = content(openapi.Schema(e.answer))
	}
	out[strconv.Itoa(max(e.status, http.StatusOK))] = success
	if e.answer == "AsyncOperationResult" {
		out["202"] = doc{"description": "No record yet: request it again."}
	}
	return out
}
