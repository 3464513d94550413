"""The CoAP binding: `POST /k` carries one datagram each way (docs/decisions/0020-coap-endpoint.md).

`endpoint` owns the socket; `requests` and `responses` are its two halves; `message` is the format, `inbox` what waits
for devices that cannot be reached, `multicast` who hears a HELLO. Only `application` needs aiocoap.
"""
