package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/beevik/etree"
	"github.com/tidwall/gjson"

	"valence/internal/test/bench/baseline/order"
)

// answer holds the ten fields of an order.
type answer struct {
	OrderID      string      `json:"orderId"`
	CustomerID   string      `json:"customerId"`
	CustomerName string      `json:"customerName"`
	Email        string      `json:"email"`
	City         string      `json:"city"`
	Country      string      `json:"country"`
	Currency     string      `json:"currency"`
	Total        json.Number `json:"total"`
	LineCount    int         `json:"lineCount"`
	FirstSKU     string      `json:"firstSku"`
}

// soapOrder asks a SOAP service for an order.
func soapOrder(service string) http.HandlerFunc {
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute},
		Timeout:   10 * time.Second,
	}
	return func(w http.ResponseWriter, r *http.Request) {
		b, err := order.Body(r)
		if err != nil {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		found, err := askOrder(client, service, gjson.GetBytes(b, "id").String())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		out, err := json.Marshal(found)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		order.Answer(w, out)
	}
}

func askOrder(client *http.Client, service, id string) (*answer, error) {
	doc := etree.NewDocument()
	doc.CreateProcInst("xml", `version="1.0" encoding="utf-8"`)
	envelope := doc.CreateElement("soap:Envelope")
	envelope.CreateAttr("xmlns:soap", "http://schemas.xmlsoap.org/soap/envelope/")
	request := envelope.CreateElement("soap:Body").CreateElement("GetOrder")
	request.CreateAttr("xmlns", "urn:orders")
	request.CreateElement("id").SetText(id)
	body, err := doc.WriteToBytes()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, service, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	req.Header["SOAPAction"] = []string{`"urn:orders:GetOrder"`}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	in := etree.NewDocument()
	if err := in.ReadFromBytes(text); err != nil {
		return nil, err
	}
	found := in.FindElement("/Envelope/Body/GetOrderResponse")
	if found == nil {
		return nil, fmt.Errorf("the service returned %s", resp.Status)
	}
	at := func(path string) string {
		if e := found.FindElement(path); e != nil {
			return e.Text()
		}
		return ""
	}
	return &answer{at("order_id"), at("customer/id"), at("customer/name"), at("customer/email"), at("customer/address/city"), at("customer/address/country"),
		at("currency"), json.Number(at("total")), len(found.SelectElements("line")), at("line/sku")}, nil
}
