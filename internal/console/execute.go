package console

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

// execution is the receipt of an execution request.
type execution struct {
	Execution     string    `json:"execution"`
	Process       string    `json:"process"`
	Status        string    `json:"status"`
	ReceivedAt    time.Time `json:"received_at"`
	Location      string    `json:"location"`
	CorrelationID string    `json:"correlation_id,omitempty"`
}

func (c *console) execute(w http.ResponseWriter, r *http.Request) {
	if !c.onlyQuery(w, r) {
		return
	}
	body, ok := c.read(w, r, "props", "document", "media_type")
	if !ok {
		return
	}
	props, ok := propsOf(body)
	if !ok {
		refuse(w, "The props are not an object.", "/props", "must be an object")
		return
	}
	mediaType, ok := textOf(body, "media_type")
	if !ok {
		refuse(w, "The media type is not text.", "/media_type", "must be text")
		return
	}
	doc, err := documentOf(body, mediaType)
	if err != nil {
		refuse(w, "The document cannot be read.", "/document", err.Error())
		return
	}
	name := mux.Vars(r)["name"]
	ack, err := c.Triggers.Execute(r.Context(), name, props, doc)
	if err != nil {
		if f := (*fault.Failure)(nil); errors.As(err, &f) && f.Code == fault.CodeInvalid {
			violations := make([]fault.Violation, len(f.Problems))
			for i, p := range f.Problems {
				violations[i] = fault.Violation{Pointer: "/document" + p.Pointer, Detail: p.Detail}
			}
			writeProblem(w, http.StatusBadRequest, "The document does not match the process' profile.", violations...)
			return
		}
		c.fail(w, r, err)
		return
	}
	location := "/api/v1/executions/" + ack.Execution
	w.Header().Set("Location", location)
	writeJSON(w, http.StatusAccepted, execution{
		Execution: ack.Execution, Process: ack.Process, Status: ack.Status,
		ReceivedAt: ack.ReceivedAt, Location: location, CorrelationID: ack.CorrelationID,
	})
}

func (c *console) backup(w http.ResponseWriter, r *http.Request) {
	if !c.onlyQuery(w, r) {
		return
	}
	body, ok := c.read(w, r, "folder")
	if !ok {
		return
	}
	folder, ok := textOf(body, "folder")
	switch {
	case c.Backup == nil:
		writeProblem(w, http.StatusNotImplemented, "This store is backed up with its own tools.")
		return
	case !ok || !filepath.IsAbs(folder):
		refuse(w, "The folder must be an absolute path on the atom's machine.", "/folder", "must be an absolute path")
		return
	}
	folder = filepath.Clean(folder)
	if err := c.Options.Backup(r.Context(), folder); err != nil {
		c.Log.Error("backup failed", "folder", folder, "error", err)
		writeProblem(w, http.StatusUnprocessableEntity, capital(err.Error())+".")
		return
	}
	c.Log.Info("backup written", "folder", folder)
	writeJSON(w, http.StatusOK, map[string]string{"folder": folder})
}

// refuse answers 400 for one value of the body.
func refuse(w http.ResponseWriter, detail, pointer, what string) {
	writeProblem(w, http.StatusBadRequest, detail, fault.Violation{Pointer: pointer, Detail: what})
}

// read decodes a JSON object strictly: the media type, duplicate and unknown
// keys, trailing text and size are checked. It answers itself if it is false.
// An empty body is an empty object.
func (c *console) read(w http.ResponseWriter, r *http.Request, keys ...string) (*document.Object, bool) {
	if media := r.Header.Get("Content-Type"); media != "" {
		if kind, params, err := mime.ParseMediaType(media); err != nil || kind != "application/json" || !isUTF8(params["charset"]) {
			writeProblem(w, http.StatusUnsupportedMediaType, "The body must be application/json in UTF-8.")
			return nil, false
		}
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, c.MaxBody))
	if err != nil {
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			writeProblem(w, http.StatusRequestEntityTooLarge, "The body is larger than this atom takes.")
			return nil, false
		}
		writeProblem(w, http.StatusBadRequest, "The body could not be read to its end.")
		return nil, false
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return &document.Object{}, true
	}
	if err := convert.CheckJSON(text); err != nil {
		v := fault.Violation{Detail: err.Error()}
		if e := (*convert.SyntaxError)(nil); errors.As(err, &e) {
			v.Pointer = e.Pointer
		}
		writeProblem(w, http.StatusBadRequest, "The body is not valid JSON.", v)
		return nil, false
	}
	body, ok := document.Decode(document.Parse(string(text))).(*document.Object)
	if !ok {
		refuse(w, "The body is not an object.", "", "must be an object")
		return nil, false
	}
	for _, key := range body.Keys() {
		if !slices.Contains(keys, key) {
			refuse(w, "There is no key "+key+" here; there are "+strings.Join(keys, ", ")+".", "/"+key, "unknown key")
			return nil, false
		}
	}
	return body, true
}

func isUTF8(charset string) bool { return charset == "" || strings.EqualFold(charset, "utf-8") }

// textOf reads a key that is text, or absent.
func textOf(body *document.Object, key string) (string, bool) {
	v, there := body.Get(key)
	s, ok := v.(string)
	return s, ok || !there
}

// propsOf reads the process properties; none, or null, are no properties.
func propsOf(body *document.Object) (*document.Object, bool) {
	v, _ := body.Get("props")
	if v == nil {
		return nil, true
	}
	props, ok := document.Decode(v).(*document.Object)
	return props, ok
}

// documentOf makes the input. JSON is taken as it is; of another media type
// the document is a string that holds its text.
func documentOf(body *document.Object, mediaType string) (*document.Document, error) {
	v, there := body.Get("document")
	if !there {
		return document.Empty, nil
	}
	kind, params, err := mime.ParseMediaType(mediaType)
	switch {
	case mediaType == "":
		return document.FromValue(v), nil
	case err != nil:
		return nil, errors.New("the media_type is not one")
	case !isUTF8(params["charset"]):
		return nil, errors.New("the media_type must be in UTF-8")
	case isJSON(kind):
		return document.FromValue(v), nil
	}
	s, ok := v.(string)
	if !ok {
		return nil, errors.New("a document that is not JSON must be a string")
	}
	var data []byte
	switch {
	case kind == "application/xml" || kind == "text/xml" || strings.HasSuffix(kind, "+xml"):
		data, err = convert.XMLToJSON([]byte(s), nil)
	case kind == "text/csv":
		data, err = convert.CSVToJSON([]byte(s), true, ',')
	case kind == "application/x-www-form-urlencoded":
		data, err = convert.FormToJSON([]byte(s))
	default:
		data = document.AppendJSON(nil, s)
	}
	if err != nil {
		return nil, err
	}
	return document.New([]byte(s), mediaType, string(data)), nil
}

func isJSON(kind string) bool { return kind == "application/json" || strings.HasSuffix(kind, "+json") }
