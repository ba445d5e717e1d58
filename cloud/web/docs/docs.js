// The API's document with a form to try each route. Requests go out as the signed-in user, with the header that cookies need.
// @ts-nocheck: swagger-ui comes as a global without types

window.ui = window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  requestInterceptor(request) {
    request.headers["X-Aisle"] = "1";
    return request;
  },
});
