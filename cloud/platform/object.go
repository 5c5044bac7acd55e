package platform

import (
	"net/http"
	"strconv"
	"time"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/cloud/platform/filter"
)

// verb is an operation on an object.
type verb string

const (
	verbGet    verb = "get"
	verbBulk   verb = "bulk"
	verbQuery  verb = "query"
	verbCreate verb = "create"
	verbUpdate verb = "update"
	verbDelete verb = "delete"
)

// write says when a client may set a property.
type write int

const (
	readOnly write = iota // set by the control plane; values from clients are ignored
	onCreate
	onUpdate // and on create
)

// property is one property of an object. Its value in responses, its filters and
// its description follow from it.
type property[T any] struct {
	Name     string
	Doc      string
	Type     filter.Type
	Of       func(c *call, v T) any // as codec.Field.Value; nil: write-only
	Long     bool                   // a number in the public API's notation of longs
	Filter   bool
	Write    write
	Required bool // on creation
	Attr     bool // an attribute in XML
	Hidden   bool // filterable, but not in responses
	Enum     []string
}

// object is one kind of object: the table that determines its endpoints, filters
// and description.
type object[T any] struct {
	Name       string
	ID         string // the property that holds the id
	Doc        string
	Properties []property[T]
	Rules      map[verb]cloud.Action // the permission of each verb; a verb without a rule has no endpoint

	Get    func(c *call, id string) (T, error)
	List   func(c *call) ([]T, error) // everything the caller may see
	Key    func(v T) string           // unique sort key of List
	Create func(c *call, in *codec.Node) (T, error)
	Update func(c *call, id string, in *codec.Node) (T, error)
	Delete func(c *call, id string) error
	// Page replaces List for objects too numerous to list. It returns the
	// objects that pass, and lets the store evaluate as much of the filter as
	// possible.
	Page func(c *call, f filter.Filter, passes func(T) bool, cursor string) (page[T], error)
	// Extra returns nested objects. Also describes them by name.
	Extra func(c *call, v T) []codec.Field
	Also  map[string]any
}

// page is one page of a query's results.
type page[T any] struct {
	Items  []T
	Cursor string // "" at the end
}

// resource is an object without its type parameter.
type resource interface {
	describe() description
	serve(c *call, v verb, id string) (*codec.Object, error)
}

// description is an object for the router and the OpenAPI document.
type description struct {
	Name, ID, Doc string
	Properties    []described
	Rules         map[verb]cloud.Action
	Also          map[string]any // schemas of nested objects
	Unavailable   string         // why all endpoints respond with 501
}

// described is a property without its type parameter.
type described struct {
	Name, Doc        string
	Type             filter.Type
	Write            write
	Required, Filter bool
	Answered, Long   bool
	Enum             []string
}

func (o *object[T]) describe() description {
	d := description{Name: o.Name, ID: o.ID, Doc: o.Doc, Rules: o.Rules, Also: o.Also}
	for _, p := range o.Properties {
		d.Properties = append(d.Properties, described{Name: p.Name, Doc: p.Doc, Type: p.Type, Write: p.Write, Required: p.Required,
			Filter: p.Filter, Answered: !p.Hidden, Long: p.Long, Enum: p.Enum})
	}
	return d
}

// encode encodes an object for a response.
func (o *object[T]) encode(c *call, v T) *codec.Object {
	out := &codec.Object{Type: o.Name}
	for _, p := range o.Properties {
		if p.Of == nil || p.Hidden {
			continue
		}
		value := p.Of(c, v)
		if n, ok := value.(int); ok && p.Long {
			value = codec.Long(n)
		}
		out.Fields = append(out.Fields, codec.Field{Name: p.Name, Value: value, Attr: p.Attr})
	}
	if o.Extra != nil {
		out.Fields = append(out.Fields, o.Extra(c, v)...)
	}
	return out
}

// filterable returns the properties that filters may use.
func (o *object[T]) filterable() map[string]filter.Type {
	out := map[string]filter.Type{}
	for _, p := range o.Properties {
		if p.Filter {
			out[p.Name] = p.Type
		}
	}
	return out
}

// passes reports whether an object matches a filter.
func (o *object[T]) passes(c *call, f filter.Filter, v T) bool {
	return f.Match(func(name string) (string, bool) {
		for _, p := range o.Properties {
			if p.Name == name && p.Of != nil {
				return scalar(p.Of(c, v))
			}
		}
		return "", false
	})
}

// scalar converts a value for filters. Omitted values are null.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, v != ""
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), !v.IsZero()
	}
	return "", false
}

// check rejects invalid values of writable properties. Unknown and read-only
// properties are ignored, because clients send whole objects back.
func (o *object[T]) check(in *codec.Node, creating bool) error {
	for _, p := range o.Properties {
		given := in.String(p.Name)
		if p.Write == readOnly || p.Write == onCreate && !creating {
			continue
		}
		if all := in.All(p.Name); len(all) > 1 && all[0].Text != "Long" || given == "" && len(all) == 1 && !all[0].Empty() {
			return refuse(http.StatusBadRequest, "%s must be a single value, not an object or a list", p.Name)
		}
		if given == "" {
			if p.Required && creating {
				return refuse(http.StatusBadRequest, "%s is missing", p.Name)
			}
			continue
		}
		if len(p.Enum) > 0 && !oneOf(p.Enum, given) {
			return refuse(http.StatusBadRequest, "%s must be one of %s, got %q", p.Name, list(p.Enum), given)
		}
	}
	return nil
}

// serve serves one request.
func (o *object[T]) serve(c *call, v verb, id string) (*codec.Object, error) {
	switch v {
	case verbGet:
		got, err := o.Get(c, id)
		if err != nil {
			return nil, err
		}
		return o.encode(c, got), nil
	case verbCreate:
		if err := o.check(c.body, true); err != nil {
			return nil, err
		}
		got, err := o.Create(c, c.body)
		if err != nil {
			return nil, err
		}
		return o.encode(c, got), nil
	case verbUpdate:
		if err := o.check(c.body, false); err != nil {
			return nil, err
		}
		got, err := o.Update(c, id, c.body)
		if err != nil {
			return nil, err
		}
		return o.encode(c, got), nil
	case verbDelete:
		return nil, o.Delete(c, id)
	case verbBulk:
		return o.bulk(c)
	case verbQuery:
		return o.query(c)
	}
	return nil, refuse(http.StatusMethodNotAllowed, "%s has no %s", o.Name, v)
}

// maxBulk is the number of ids that one bulk request may contain.
const maxBulk = 100

// bulk serves a bulk request: each id has its own status.
func (o *object[T]) bulk(c *call) (*codec.Object, error) {
	if t := c.body.String("type"); t != "" && t != "GET" {
		return nil, refuse(http.StatusBadRequest, "bulk requests of type %q are not supported: use GET", t)
	}
	asked := c.body.All("request")
	if len(asked) > maxBulk {
		return nil, refuse(http.StatusBadRequest, "a bulk request contains at most %d ids, got %d", maxBulk, len(asked))
	}
	out := &codec.Object{Type: "BulkResult"}
	var answers []*codec.Object
	for i, r := range asked {
		id := r.String("id")
		one := &codec.Object{Type: "BulkResponse"}
		got, err := o.Get(c, id)
		if err != nil {
			status, message := explain(err)
			one.Fields = []codec.Field{{Name: "index", Value: i, Attr: true}, {Name: "id", Value: id, Attr: true},
				{Name: "statusCode", Value: status, Attr: true}, {Name: "errorMessage", Value: message, Attr: true}}
		} else {
			one.Fields = []codec.Field{{Name: "Result", Value: o.encode(c, got), Typed: true}, {Name: "index", Value: i, Attr: true},
				{Name: "id", Value: id, Attr: true}, {Name: "statusCode", Value: http.StatusOK, Attr: true}}
		}
		answers = append(answers, one)
	}
	out.Fields = []codec.Field{{Name: "response", Value: answers}}
	return out, nil
}
